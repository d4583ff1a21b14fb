//! The built-in web page.
