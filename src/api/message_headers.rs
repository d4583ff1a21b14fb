//! Headers of the messages that an upload makes of its lines.

use super::params::Params;
use super::problem::Problem;
use crate::quarantine::entry::OWN;
use crate::record::Path;
use crate::record::decode::Placement;

/// What a header is given as.
const GIVEN: &str = "a name, a colon and a value";
/// What the path of a header is given as.
const AT: &str = "a name, a colon and a path in the event";

/// Where the headers of a request's messages come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MessageHeaders {
    /// The same for all.
    given: Vec<(String, Vec<u8>)>,
    /// Out of each event.
    at: Vec<(String, Path)>,
}

impl MessageHeaders {
    /// Takes `header` and `header_path`.
    pub(super) fn take(params: &mut Params) -> Result<Self, Problem> {
        let mut headers = Self::default();
        for text in params.list("header")?.unwrap_or_default() {
            let (name, value) = split("header", &text, GIVEN)?;
            headers.given.push((name.to_owned(), value.as_bytes().to_vec()));
        }
        for text in params.list("header_path")?.unwrap_or_default() {
            let (name, path) = split("header_path", &text, AT)?;
            if path.is_empty() {
                return Err(Problem::parameter("header_path", format_args!("`{text}` has no path"), AT));
            }
            headers.at.push((name.to_owned(), Path::parse(path)));
        }
        Ok(headers)
    }

    /// The headers of one event, in the order given, those of its own last.
    pub(super) fn of(&self, placement: &Placement, event: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut headers = self.given.clone();
        for (name, path) in &self.at {
            let value = placement.header_at(path, event).map_err(|reject| reject.to_string())?;
            headers.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(headers)
    }
}

fn split<'t>(parameter: &'static str, text: &'t str, expected: &str) -> Result<(&'t str, &'t str), Problem> {
    match text.split_once(':') {
        None | Some(("", _)) => Err(Problem::parameter(parameter, format_args!("`{text}` has no name"), expected)),
        // Who could set them could order a replay.
        Some((name, _)) if name.starts_with(OWN) => {
            let found = format_args!("`{name}` begins with `{OWN}`, which is Keld's own");
            Err(Problem::parameter(parameter, found, "another name"))
        }
        Some(parts) => Ok(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(query: &str) -> Result<MessageHeaders, Problem> {
        MessageHeaders::take(&mut Params::from_uri(&format!("/x?{query}").parse().unwrap()).unwrap())
    }

    #[test]
    fn headers_are_split_at_their_first_colon_and_may_be_repeated() {
        let headers = take("header=a:1:2&header=b:&header=a:3&header_path=c:x.y").unwrap();
        let given = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        assert_eq!(headers.given, [given("a", "1:2"), given("b", ""), given("a", "3")]);
        assert_eq!(headers.at, [("c".to_owned(), Path::parse("x.y"))]);
        assert_eq!(take("").unwrap(), MessageHeaders::default());
    }

    #[test]
    fn a_header_without_a_name_or_with_one_of_ours_is_refused() {
        for query in
            ["header=a", "header=:a", "header=keld.replay:%7B%7D", "header_path=keld.replay:x", "header_path=a:"]
        {
            let problem = take(query).unwrap_err();
            assert_eq!(problem.body().status, 400, "{query}");
        }
    }
}
