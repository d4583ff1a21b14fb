//! Wiring: builds every part, owns start-up and shut-down order.
