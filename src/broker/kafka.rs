//! A Kafka cluster, through rdkafka.
