//! Dates in queries.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The time that a date in a query stands for: a day for a day, a millisecond for anything finer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First millisecond since the epoch.
    pub(super) start: i64,
    /// The millisecond after the last.
    pub(super) end: i64,
}

impl Span {
    /// Reads RFC 3339 text, a day (`2026-01-31`, in UTC), or milliseconds since the epoch.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(ms) = text.parse::<i64>() {
            return Some(Self { start: ms, end: ms.checked_add(1)? });
        }
        if text.len() == "2026-01-31".len()
            && let Ok(day) = text.parse::<Date>()
        {
            let start = |d: Date| Some(d.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond());
            return Some(Self { start: start(day)?, end: start(day.tomorrow().ok()?)? });
        }
        let ms = text.parse::<Timestamp>().ok()?.as_millisecond();
        Some(Self { start: ms, end: ms.checked_add(1)? })
    }
}

/// A moment as records show it: RFC 3339 in UTC; the number itself where a calendar has no such year.
pub(super) fn text(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_day_and_a_moment_is_a_millisecond() {
        let span = |start, end| Some(Span { start, end });
        assert_eq!(Span::parse("1970-01-02"), span(86_400_000, 172_800_000));
        assert_eq!(Span::parse("1970-01-01T00:00:01.5Z"), span(1_500, 1_501));
        assert_eq!(Span::parse("1970-01-01T02:00:00+02:00"), span(0, 1));
        assert_eq!(Span::parse("-5"), span(-5, -4));
        assert_eq!(Span::parse("yesterday"), None);
        assert_eq!(Span::parse("1970-13-01"), None);
    }
}
