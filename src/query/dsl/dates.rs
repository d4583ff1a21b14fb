//! Dates as Elasticsearch writes them: of several forms, coarse or fine, from `now` on, rounded, in a zone.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan, Zoned};

/// The time that a date stands for: a year for a year, a millisecond for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// First millisecond since the epoch.
    pub start: i64,
    /// The millisecond after the last.
    pub end: i64,
}

/// A form of dates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// From the year to the fraction of a second, as fine as given.
    Iso,
    /// Milliseconds since the epoch.
    Millis,
    /// Seconds since the epoch.
    Seconds,
    /// A pattern of years, months, …
    Pattern(Vec<Part>),
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A number: which one, and how many digits.
    Number(char, usize),
    /// The zone.
    Zone,
    /// Letters that stand for themselves.
    Text(String),
}

/// Longest pattern of a form, bytes: what it writes stands in every hit.
const LONGEST_PATTERN: usize = 100;

impl Format {
    /// Reads the name or the pattern of a form; `None` where it is not known.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "epoch_millis" => Self::Millis,
            "epoch_second" => Self::Seconds,
            "strict_date_optional_time" | "date_optional_time" | "strict_date_optional_time_nanos" | "iso8601" => {
                Self::Iso
            }
            "strict_date_time" | "date_time" | "strict_date" | "date" | "strict_date_time_no_millis" => Self::Iso,
            pattern => Self::Pattern(parts(pattern)?),
        })
    }

    /// A moment in this form, in a zone.
    pub fn write(&self, ms: i64, zone: &TimeZone) -> String {
        let Some(zoned) = zoned(ms, zone) else { return ms.to_string() };
        let (at, offset) = (zoned.datetime(), zoned.offset().seconds());
        match self {
            Self::Millis => ms.to_string(),
            Self::Seconds => ms.div_euclid(1_000).to_string(),
            Self::Iso => {
                format!(
                    "{}T{:02}:{:02}:{:02}.{:03}{}",
                    at.date(),
                    at.hour(),
                    at.minute(),
                    at.second(),
                    at.millisecond(),
                    written(offset)
                )
            }
            Self::Pattern(parts) => parts.iter().map(|part| write(part, &at, offset)).collect(),
        }
    }
}

/// Reads dates at one moment.
#[derive(Clone, Debug)]
pub struct Dates {
    now_ms: i64,
    formats: Vec<Format>,
    /// For dates that do not say.
    zone: TimeZone,
}

impl Dates {
    /// At this moment, in these forms (separated by `||`), in this zone; what was expected, where that is not known.
    pub fn new(now_ms: i64, formats: Option<&str>, zone: Option<&str>) -> Result<Self, String> {
        let formats = match formats {
            None => vec![Format::Iso, Format::Millis],
            Some(names) => {
                let known = |name: &str| {
                    Format::parse(name).ok_or_else(|| {
                        format!("format: found {name:?}, expected epoch_millis, epoch_second, strict_date_optional_time or a pattern such as yyyy-MM-dd HH:mm:ss")
                    })
                };
                names.split("||").map(known).collect::<Result<_, _>>()?
            }
        };
        Ok(Self { now_ms, formats, zone: zone.map_or(Ok(TimeZone::UTC), read_zone)? })
    }

    /// At this moment, in this form, or in those that are understood by default; in UTC.
    pub fn with(now_ms: i64, format: Option<Format>) -> Self {
        let formats = format.map_or_else(|| vec![Format::Iso, Format::Millis], |format| vec![format]);
        Self { now_ms, formats, zone: TimeZone::UTC }
    }

    /// Reads a date, with arithmetic behind `now` or `||`: `now-1d/d`, `2026-01-31||+1M`.
    pub fn read(&self, text: &str) -> Result<Moment, String> {
        if let Some(sums) = text.strip_prefix("now") {
            return self.reckon(self.now_ms, sums).ok_or_else(|| wrong(text));
        }
        if let Some((date, sums)) = text.split_once("||") {
            let start = self.plain(date).ok_or_else(|| wrong(text))?.start;
            return self.reckon(start, sums).ok_or_else(|| wrong(text));
        }
        self.plain(text).ok_or_else(|| wrong(text))
    }

    fn plain(&self, text: &str) -> Option<Moment> {
        self.formats.iter().find_map(|format| match format {
            Format::Iso => iso(text, &self.zone),
            Format::Millis => moment(text.parse::<f64>().ok().and_then(whole)?),
            Format::Seconds => moment(text.parse::<f64>().ok().map(|s| s * 1_000.0).and_then(whole)?),
            Format::Pattern(parts) => read(parts, text, &self.zone),
        })
    }

    /// Applies `+1h`, `-2d`, `/d` one after the other.
    fn reckon(&self, start: i64, sums: &str) -> Option<Moment> {
        let mut at = zoned(start, &self.zone)?;
        let mut end = None;
        let mut rest = sums;
        while let Some(sign) = rest.chars().next() {
            rest = &rest[sign.len_utf8()..];
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number: i32 = if digits == 0 { 1 } else { rest[..digits].parse().ok()? };
            let unit = rest[digits..].chars().next()?;
            rest = &rest[digits + unit.len_utf8()..];
            match sign {
                '+' => at = shift(&at, unit, number)?,
                '-' => at = shift(&at, unit, number.checked_neg()?)?,
                '/' if digits == 0 => {
                    at = floor(&at, unit)?;
                    end = Some(unit);
                    continue;
                }
                _ => return None,
            }
            end = None;
        }
        match end {
            None => moment(at.timestamp().as_millisecond()),
            Some(unit) => span(&at, unit),
        }
    }
}

/// A zone: UTC, an offset, or the name that it has in the database of zones; what was expected, where it is another.
///
/// The database is part of the program, so that every instance knows the same zones.
pub fn read_zone(text: &str) -> Result<TimeZone, String> {
    let named = || TimeZone::get(text).ok();
    read_offset(text).or_else(named).ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        format!("time_zone: found {shown:?}, expected UTC, an offset such as +01:00, or a name such as Europe/Berlin")
    })
}

fn read_offset(text: &str) -> Option<TimeZone> {
    if matches!(text, "UTC" | "utc" | "Z" | "GMT" | "Etc/UTC") {
        return Some(TimeZone::UTC);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None if rest.len() == 4 => rest.split_at_checked(2)?,
        None => (rest, "0"),
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let known = (0..=18).contains(&hours) && (0..60).contains(&minutes);
    let offset = Offset::from_seconds(sign * (hours * 3_600 + minutes * 60)).ok().filter(|_| known)?;
    Some(TimeZone::fixed(offset))
}

fn wrong(text: &str) -> String {
    let shown: String = text.chars().take(80).collect();
    format!(
        "found {shown:?}, expected a date such as 2026-01-31, 2026-01-31T12:00:00Z, now-1d/d, or in the given format"
    )
}

fn moment(start: i64) -> Option<Moment> {
    Some(Moment { start, end: start.checked_add(1)? })
}

fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "bounded")]
    (number.abs() < 9e15).then(|| number.floor() as i64)
}

fn zoned(ms: i64, zone: &TimeZone) -> Option<Zoned> {
    Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(zone.clone()))
}

/// The unit that begins here.
fn span(at: &Zoned, unit: char) -> Option<Moment> {
    let end = shift(at, unit, 1)?.timestamp().as_millisecond();
    Some(Moment { start: at.timestamp().as_millisecond(), end })
}

/// So many units later: days and longer ones by the calendar of the zone, shorter ones by the clock.
fn shift(at: &Zoned, unit: char, n: i32) -> Option<Zoned> {
    let n = i64::from(n);
    let span = match unit {
        'y' => jiff::Span::new().try_years(n),
        'M' => jiff::Span::new().try_months(n),
        'w' => jiff::Span::new().try_weeks(n),
        'd' => jiff::Span::new().try_days(n),
        'h' | 'H' => jiff::Span::new().try_hours(n),
        'm' => jiff::Span::new().try_minutes(n),
        's' => jiff::Span::new().try_seconds(n),
        _ => return None,
    };
    at.checked_add(span.ok()?).ok()
}

/// The beginning of the unit; weeks begin on Monday.
fn floor(at: &Zoned, unit: char) -> Option<Zoned> {
    let date = at.date();
    let first = match unit {
        'y' => Date::new(date.year(), 1, 1).ok()?,
        'M' => date.first_of_month(),
        'w' => date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).ok()?,
        'd' => date,
        'h' | 'H' => return floor_clock(at, 3_600_000),
        'm' => return floor_clock(at, 60_000),
        's' => return floor_clock(at, 1_000),
        _ => return None,
    };
    first.to_zoned(at.time_zone().clone()).ok()
}

/// The beginning of a unit of the clock, milliseconds; an hour that comes twice is not left by it.
fn floor_clock(at: &Zoned, unit: i64) -> Option<Zoned> {
    let ms = at.timestamp().as_millisecond();
    let local = ms.checked_add(i64::from(at.offset().seconds()) * 1_000)?;
    zoned(ms - local.rem_euclid(unit), at.time_zone())
}

/// A date that is as fine as it is written: `2026`, `2026-01`, … `2026-01-31T12:30:00.5+01:00`.
fn iso(text: &str, zone: &TimeZone) -> Option<Moment> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut numbers = date.splitn(3, '-');
    let year = numbers.next().filter(|y| y.len() == 4)?.parse().ok()?;
    let (month, day) = (numbers.next(), numbers.next());
    let number = |text: Option<&str>| text.map_or(Some(1), |t| t.parse::<i8>().ok().filter(|_| t.len() == 2));
    let date = Date::new(year, number(month)?, number(day)?).ok()?;
    let at = DateTime::from_parts(date, Time::midnight());
    let unit = if day.is_some() {
        'd'
    } else if month.is_some() {
        'M'
    } else {
        'y'
    };
    let Some(time) = time.filter(|time| !time.is_empty()) else { return span(&at.to_zoned(zone.clone()).ok()?, unit) };
    day?;
    let ends = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (time, offset) = time.split_at(ends);
    let zone = if offset.is_empty() { zone.clone() } else { read_offset(offset)? };
    let (time, fraction) = time.split_once('.').map_or((time, None), |(time, fraction)| (time, Some(fraction)));
    let mut numbers = time.splitn(3, ':');
    let mut next = || numbers.next().map(|t| t.parse::<i8>().ok().filter(|_| t.len() == 2));
    let (hour, minute, second) = (next()??, next(), next());
    let unit = if second.is_some() {
        's'
    } else if minute.is_some() {
        'm'
    } else {
        'h'
    };
    let zero = Some(Some(0));
    let clock = Time::new(hour, minute.or(zero)??, second.or(zero)??, 0).ok()?;
    let at = DateTime::from_parts(date, clock).to_zoned(zone).ok()?;
    let Some(fraction) = fraction else { return span(&at, unit) };
    if unit != 's' || fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3.3}").parse().ok()?;
    moment(at.timestamp().as_millisecond() + ms)
}

/// Parts of a pattern; `None` where it has letters that are not known.
fn parts(pattern: &str) -> Option<Vec<Part>> {
    if pattern.len() > LONGEST_PATTERN {
        return None;
    }
    let mut all = Vec::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let end = quoted.find('\'')?;
            all.push(Part::Text(quoted[..end].to_owned()));
            rest = &quoted[end + 1..];
            continue;
        }
        let same = rest.len() - rest.trim_start_matches(letter).len();
        let n = same / letter.len_utf8();
        all.push(match letter {
            'y' | 'u' if n == 4 || n == 2 => Part::Number('y', n),
            'M' | 'd' | 'H' | 'm' | 's' if n <= 2 => Part::Number(letter, n),
            'S' => Part::Number('S', n),
            'X' | 'x' | 'Z' => Part::Zone,
            letter if letter.is_ascii_alphabetic() => return None,
            _ => Part::Text(rest[..same].to_owned()),
        });
        rest = &rest[same..];
    }
    (!all.is_empty()).then_some(all)
}

fn write(part: &Part, at: &DateTime, offset: i32) -> String {
    match part {
        Part::Text(text) => text.clone(),
        Part::Zone => written(offset),
        Part::Number('S', n) => {
            format!("{:09}", at.subsec_nanosecond()).chars().chain(std::iter::repeat('0')).take(*n).collect()
        }
        Part::Number('y', 2) => format!("{:02}", at.year().rem_euclid(100)),
        Part::Number(letter, n) => {
            let number = match letter {
                'y' => i64::from(at.year()),
                'M' => at.month().into(),
                'd' => at.day().into(),
                'H' => at.hour().into(),
                'm' => at.minute().into(),
                _ => at.second().into(),
            };
            format!("{number:0n$}")
        }
    }
}

/// So many seconds east of UTC.
fn written(offset: i32) -> String {
    if offset == 0 {
        return "Z".to_owned();
    }
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// Reads a text by a pattern; as coarse as its finest part.
fn read(parts: &[Part], text: &str, zone: &TimeZone) -> Option<Moment> {
    let (mut rest, mut unit, mut zone) = (text, 'y', zone.clone());
    let (mut year, mut month, mut day, mut clock, mut ms) = (1970_i16, 1_i8, 1_i8, [0_i8; 3], None);
    for (i, part) in parts.iter().enumerate() {
        match part {
            Part::Text(text) => rest = rest.strip_prefix(text.as_str())?,
            Part::Zone => {
                let end = rest.find(|c: char| !matches!(c, '+' | '-' | ':' | 'Z' | '0'..='9')).unwrap_or(rest.len());
                zone = read_offset(&rest[..end])?;
                rest = &rest[end..];
            }
            Part::Number(letter, n) => {
                // `d` takes one digit or two, unless another number follows at once.
                let bounded = matches!(parts.get(i + 1), Some(Part::Number(..)));
                let most = if *n == 1 && !bounded { 2 } else { *n };
                let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
                let number = &rest[..digits];
                rest = &rest[digits..];
                match letter {
                    'y' if digits == 2 => year = 2000 + number.parse::<i16>().ok()?,
                    'y' => year = number.parse().ok()?,
                    'M' => month = number.parse().ok()?,
                    'd' => day = number.parse().ok()?,
                    'H' => clock[0] = number.parse().ok()?,
                    'm' => clock[1] = number.parse().ok()?,
                    's' => clock[2] = number.parse().ok()?,
                    _ => ms = Some(format!("{number:0<3.3}").parse::<i64>().ok()?),
                }
                let order = "yMdHms";
                if order.find(*letter) > order.find(unit) {
                    unit = *letter;
                }
            }
        }
    }
    if !rest.is_empty() {
        return None;
    }
    let [hour, minute, second] = clock;
    let at = DateTime::from_parts(Date::new(year, month, day).ok()?, Time::new(hour, minute, second, 0).ok()?);
    let at = at.to_zoned(zone).ok()?;
    match ms {
        Some(ms) => moment(at.timestamp().as_millisecond() + ms),
        None => span(&at, unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn dates(format: Option<&str>, zone: Option<&str>) -> Dates {
        Dates::new(ms("2026-03-15T10:20:30.400Z"), format, zone).unwrap()
    }

    #[track_caller]
    fn spans(dates: &Dates, text: &str, start: &str, end: &str) {
        let found = dates.read(text).unwrap();
        let expected = Moment { start: ms(start), end: ms(end) };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_date_is_as_coarse_as_it_is_written() {
        let plain = dates(None, None);
        spans(&plain, "2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        spans(&plain, "2026-02", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");
        spans(&plain, "2026-02-03", "2026-02-03T00:00:00Z", "2026-02-04T00:00:00Z");
        spans(&plain, "2026-02-03T04", "2026-02-03T04:00:00Z", "2026-02-03T05:00:00Z");
        spans(&plain, "2026-02-03T04:05Z", "2026-02-03T04:05:00Z", "2026-02-03T04:06:00Z");
        spans(&plain, "2026-02-03T04:05:06+02:00", "2026-02-03T02:05:06Z", "2026-02-03T02:05:07Z");
        spans(&plain, "2026-02-03T04:05:06.5Z", "2026-02-03T04:05:06.500Z", "2026-02-03T04:05:06.501Z");
        spans(&plain, "1770000000000", "2026-02-02T02:40:00Z", "2026-02-02T02:40:00.001Z");
        spans(&dates(None, Some("+01:00")), "2026-02-03", "2026-02-02T23:00:00Z", "2026-02-03T23:00:00Z");
        for text in ["2026-13", "yesterday", "2026-02-30", "20:15", "2026-02-03T25", ""] {
            assert!(plain.read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sums_begin_at_now_or_at_a_date() {
        let plain = dates(None, None);
        spans(&plain, "now", "2026-03-15T10:20:30.400Z", "2026-03-15T10:20:30.401Z");
        spans(&plain, "now-1h", "2026-03-15T09:20:30.400Z", "2026-03-15T09:20:30.401Z");
        spans(&plain, "now/d", "2026-03-15T00:00:00Z", "2026-03-16T00:00:00Z");
        spans(&plain, "now-1h/d", "2026-03-15T00:00:00Z", "2026-03-16T00:00:00Z");
        spans(&plain, "now/w", "2026-03-09T00:00:00Z", "2026-03-16T00:00:00Z");
        spans(&plain, "now-1M/M", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");
        spans(&plain, "2026-01-31||+1M/d", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z");
        spans(&dates(None, Some("-11:00")), "now/d", "2026-03-14T11:00:00Z", "2026-03-15T11:00:00Z");
        for text in ["now-", "now*1d", "now/2d", "now-1x", "now-99999999999d", "nowhere"] {
            assert!(plain.read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn formats_are_read_and_written() {
        spans(&dates(Some("epoch_second"), None), "1770000000", "2026-02-02T02:40:00Z", "2026-02-02T02:40:00.001Z");
        let german = dates(Some("dd.MM.yyyy||dd.MM.yyyy HH:mm"), None);
        spans(&german, "03.02.2026", "2026-02-03T00:00:00Z", "2026-02-04T00:00:00Z");
        spans(&german, "03.02.2026 04:05", "2026-02-03T04:05:00Z", "2026-02-03T04:06:00Z");
        assert!(german.read("2026-02-03").is_err());
        assert!(Dates::new(0, Some("qqqq"), None).is_err() && Dates::new(0, None, Some("Mars/Base")).is_err());
        let at = ms("2026-02-03T04:05:06.789Z");
        let written = |format: &str, zone| Format::parse(format).unwrap().write(at, &read_zone(zone).unwrap());
        assert_eq!(written("epoch_millis", "Z"), at.to_string());
        assert_eq!(written("strict_date_optional_time", "Z"), "2026-02-03T04:05:06.789Z");
        assert_eq!(written("strict_date_optional_time", "+01:30"), "2026-02-03T05:35:06.789+01:30");
        assert_eq!(written("strict_date_optional_time", "Asia/Kathmandu"), "2026-02-03T09:50:06.789+05:45");
        assert_eq!(written("yyyy-MM-dd'T'HH:mm:ss.SSSX", "UTC"), written("strict_date_optional_time", "UTC"));
        assert_eq!(written("d/M/yy", "Z"), "3/2/26");
    }

    #[test]
    fn days_of_a_zone_are_as_long_as_its_clocks_say() {
        // On 29 March 2026 clocks in Berlin go from two to three, on 25 October from three back to two.
        let at = |now: &str| Dates::new(ms(now), None, Some("Europe/Berlin")).unwrap();
        let spring = at("2026-03-29T10:00:00Z");
        spans(&spring, "now/d", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        spans(&spring, "2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        spans(&spring, "now-1d/d", "2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z");
        spans(&spring, "now/M", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z");
        // Days go by the calendar, hours by the clock.
        spans(&spring, "now-1d", "2026-03-28T11:00:00Z", "2026-03-28T11:00:00.001Z");
        spans(&spring, "now-24h", "2026-03-28T10:00:00Z", "2026-03-28T10:00:00.001Z");
        spans(&spring, "2026-03-29T02:30:00", "2026-03-29T01:30:00Z", "2026-03-29T01:30:01Z");
        let autumn = at("2026-10-25T01:30:00Z");
        spans(&autumn, "now/h", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z");
        spans(&autumn, "now/d", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        spans(&autumn, "2026-10-25T12:00:00Z", "2026-10-25T12:00:00Z", "2026-10-25T12:00:01Z");
    }
}
