//! Avro: a writer's schema, and the values of a message that was written with it.
//!
//! The schema is parsed by `apache-avro`. The message is read here, because that crate (0.22) takes texts, booleans and
//! unions that end too early for null, and follows recursive schemas and announced lengths as far as a message wants.
//!
//! | Avro | value |
//! |---|---|
//! | null, boolean, int, long, string | the same |
//! | float, double | a float; NaN and infinities are refused |
//! | record, map | an object |
//! | array | an array |
//! | union | the value of its branch |
//! | enum | the symbol, as text |
//! | bytes, fixed | base64, as text |
//! | decimal | its digits, as text (`"12.50"`): exact, and a field of type integer or float takes it where nothing is lost |
//! | uuid | as text |
//! | date, timestamp-*, local-timestamp-* | milliseconds since the epoch, rounded down |
//! | time-millis, time-micros | the number |
//! | duration | an object of `months`, `days`, `millis` |
//!
//! Fields go by their names as the writer knows them. A field that the writer's schema lacks is absent: a default is what a
//! reader would make up, and must not replace what another event said.

mod datum;
mod schema;

pub use self::schema::WriterSchema;

#[cfg(test)]
mod tests;
