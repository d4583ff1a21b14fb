//! The order of a search: from the sort keys asked for to columns of the index.

use super::SearchRequest;
use crate::index::{Fields, KEY, Ordering, Place, Rank, SCORE, Sort, SortBy};
use crate::record::FieldType;
use crate::{Error, Result};

/// Most sort keys of a search.
pub const MOST_SORT_KEYS: usize = 8;

/// The order that a search asks for, or by score. Fails where a field cannot be sorted by.
pub fn order(fields: &Fields, request: &SearchRequest) -> Result<Ordering> {
    if request.sort.len() > MOST_SORT_KEYS {
        let found = request.sort.len();
        return Err(Error::bad_request(format!("sort: expected at most {MOST_SORT_KEYS} keys, found {found}")));
    }
    if request.sort.is_empty() {
        return Ok(Ordering(vec![Sort { by: SortBy::Score, descending: true, missing_first: false }]));
    }
    let mut keys = Vec::with_capacity(request.sort.len());
    for key in &request.sort {
        let by = match key.field.as_str() {
            SCORE => SortBy::Score,
            KEY => SortBy::Column(KEY.to_owned(), FieldType::Keyword),
            name => match fields.sortable(name) {
                Some(target) => SortBy::Column(target.path, target.kind),
                None => return Err(unsortable(fields, name)),
            },
        };
        keys.push(Sort { by, descending: key.descending, missing_first: key.missing_first });
    }
    Ok(Ordering(keys))
}

fn unsortable(fields: &Fields, name: &str) -> Error {
    let why = match fields.def.field(name).map(|f| f.kind) {
        Some(FieldType::Text) => "is text without sort = true",
        Some(_) => "cannot be sorted by",
        None => "is not known",
    };
    let known = fields.sortable_names().join(", ");
    Error::bad_request(format!("sort: field {name:?} {why}, expected one of: {known}"))
}

/// Checks that a place can be one of this order.
pub(super) fn check(place: &Place, order: &Ordering) -> Result<()> {
    let fits = |(sort, rank): (&Sort, &Rank)| {
        let is_text = matches!(&sort.by, SortBy::Column(_, FieldType::Text | FieldType::Keyword));
        match rank {
            Rank::First => sort.missing_first,
            Rank::Missing => !sort.missing_first,
            Rank::Number(_) => !is_text,
            Rank::Ascending(_) => is_text && !sort.descending,
            Rank::Descending(_) => is_text && sort.descending,
        }
    };
    if place.ranks.len() == order.0.len() && order.0.iter().zip(&place.ranks).all(fits) {
        return Ok(());
    }
    Err(Error::bad_request("cursor: it does not fit the sort keys of this search")
        .advise("pass the cursor of the page before, with everything else as it was"))
}
