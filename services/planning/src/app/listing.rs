//! Lists, page by page.
//!
//! A page token names the listing with its filters and the place of the last entry, so it
//! means the same at every replica and in every later release; with other filters it is
//! refused.

use fleet_graph::{Deadline, Index, Node, ReadError, Scan, Total, Versioned};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::App;

/// What is listed: a listing of the store with its filter values.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// Which listing.
    pub index: Index,
    /// One value for each of its filters.
    pub values: Vec<Value>,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many, 1 to 1000.
    pub limit: usize,
    /// Skip so many; 0 when `after` is given.
    pub offset: usize,
    /// Only what comes after this place.
    pub after: Option<String>,
}

/// A page of a list. Each entry comes with the token that goes on behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<T> {
    /// The entries, in order.
    pub entries: Vec<(Versioned<T>, String)>,
    /// The token that goes on behind the page, if there is more.
    pub next: Option<String>,
    /// How many there are in all pages.
    pub total: Total,
}

impl App {
    /// One page with its total. A row that does not read as its kind is left out and logged.
    pub async fn list<T: DeserializeOwned>(
        &self,
        listing: &Listing,
        page: &PageRequest,
        deadline: Deadline,
    ) -> Result<Listed<T>, ReadError> {
        let mut scan = Scan::new(listing.index, listing.values.clone(), page.limit);
        scan.offset = page.offset;
        scan.after.clone_from(&page.after);
        scan.total = true;
        let found = self.store.scan(&scan, deadline).await?;
        let last = found.nodes.last().filter(|_| found.more);
        let next = last.map(|node| token::encode(listing, &node.ord));
        let read = |node: &Node| match node.versioned() {
            Ok(entity) => Some((entity, token::encode(listing, &node.ord))),
            // One damaged row must not hide all the others.
            Err(error) => {
                tracing::error!(%error, "a listed node was left out");
                None
            }
        };
        let entries = found.nodes.iter().filter_map(read).collect();
        Ok(Listed {
            entries,
            next,
            total: found.total.unwrap_or_default(),
        })
    }
}

/// Page tokens: opaque to callers, readable to every replica.
pub mod token {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::{Listing, Value};

    /// The token that goes on behind `ord`.
    pub fn encode(listing: &Listing, ord: &str) -> String {
        let place = serde_json::json!([listing.index.as_str(), listing.values, ord]);
        URL_SAFE_NO_PAD.encode(place.to_string())
    }

    /// The place that a token names; the error says what is wrong with it.
    pub fn decode(listing: &Listing, token: &str) -> Result<String, &'static str> {
        const MALFORMED: &str = "is not a token that this list has given";
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| MALFORMED)?;
        let (index, values, ord): (String, Vec<Value>, String) =
            serde_json::from_slice(&bytes).map_err(|_| MALFORMED)?;
        if index != listing.index.as_str() || values != listing.values {
            return Err("belongs to a list with other filters");
        }
        Ok(ord)
    }

    #[cfg(test)]
    mod tests {
        use fleet_graph::Index;

        use super::*;

        #[test]
        fn a_token_fits_its_own_list_only() {
            let of = |state: &str| Listing {
                index: Index::StoriesByState,
                values: vec![state.into()],
            };
            let given = encode(&of("DRAFT"), "2025|s-1");
            assert_eq!(decode(&of("DRAFT"), &given).unwrap(), "2025|s-1");
            assert!(
                decode(&of("DONE"), &given)
                    .unwrap_err()
                    .contains("other filters")
            );
            for bad in ["", "x", "e30", &given[1..]] {
                assert!(
                    decode(&of("DRAFT"), bad)
                        .unwrap_err()
                        .contains("not a token"),
                    "{bad}"
                );
            }
        }
    }
}
