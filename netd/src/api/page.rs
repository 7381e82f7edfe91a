//! Pages of lists. Objects have a place in an order that never changes; a page begins behind the place where the last one ended,
//! so what stands all the time comes exactly once, whatever comes and goes meanwhile.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use netd_proto::Message;

use crate::error::{Error, Result};

/// Objects on a page that does not say how many.
const USUAL: usize = 1_000;
/// Objects on the largest page.
const LARGEST: usize = 4_000;
/// Bytes of a page: clients take 4 MiB unless they say otherwise.
const BYTES: usize = 2 << 20;

/// An object's place in its list.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Nanoseconds since 1970.
    pub created: u64,
    /// Its id.
    pub id: String,
}

/// Which page is asked for.
#[derive(Debug)]
pub struct Asked {
    most: usize,
    after: Option<Place>,
    /// Of the first page; 0: this is it.
    revision: u64,
    list: u64,
}

/// A page.
#[derive(Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Empty: it is the last one.
    pub next: String,
    /// Of the first page.
    pub revision: u64,
}

impl Asked {
    /// `list`: what is listed, and everything else that must stay the same from page to page.
    pub fn new(size: u32, token: &str, list: &[&str]) -> Result<Self> {
        let most = match size as usize {
            0 => USUAL,
            size => size.min(LARGEST),
        };
        let mut hasher = DefaultHasher::new();
        list.hash(&mut hasher);
        let list = hasher.finish();
        let (after, revision) = match token {
            "" => (None, 0),
            token => {
                let (found, revision, place) = parse(token).ok_or_else(|| bad(token))?;
                if found != list {
                    let text = format!("page token {token:?} is of another list, or filter");
                    return Err(Error::invalid(text)
                        .about("field", "page_token")
                        .hint("ask for each page as for the first one"));
                }
                (Some(place), revision)
            }
        };
        Ok(Self {
            most,
            after,
            revision,
            list,
        })
    }

    /// The page of objects, which come in any order. `revision`: of the state that they are of.
    pub fn of<'a, T: 'a, M: Message>(
        &self,
        revision: u64,
        objects: impl Iterator<Item = &'a T>,
        place: impl Fn(&T) -> Place,
        message: impl Fn(&'a T) -> Vec<M>,
    ) -> Page<M> {
        let behind = |at: &Place| self.after.as_ref().is_none_or(|after| at > after);
        let mut rest: Vec<(Place, &T)> = objects
            .map(|object| (place(object), object))
            .filter(|(at, _)| behind(at))
            .collect();
        rest.sort_by(|(a, _), (b, _)| a.cmp(b));
        let revision = match self.after {
            Some(_) => self.revision,
            None => revision,
        };
        let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
        let mut next = String::new();
        for (at, object) in rest {
            let more = message(object);
            let length: usize = more.iter().map(Message::encoded_len).sum();
            let full = items.len() + more.len() > self.most || bytes + length > BYTES;
            // One object is on a page, however large it is.
            if let (true, false, Some(last)) = (full, items.is_empty(), &last) {
                next = token(self.list, revision, last);
                break;
            }
            items.extend(more);
            bytes += length;
            last = Some(at);
        }
        Page {
            items,
            next,
            revision,
        }
    }
}

fn token(list: u64, revision: u64, place: &Place) -> String {
    let Place { created, id } = place;
    format!("{list:x}.{revision:x}.{created:x}.{id}")
}

fn parse(token: &str) -> Option<(u64, u64, Place)> {
    let mut parts = token.splitn(4, '.');
    let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
    let (list, revision, created) = (number()?, number()?, number()?);
    let id = parts.next()?.to_owned();
    Some((list, revision, Place { created, id }))
}

fn bad(token: &str) -> Error {
    Error::invalid(format!("invalid page token {token:?}"))
        .about("field", "page_token")
        .hint("next_page_token of the page before")
}

#[cfg(test)]
mod tests {
    use netd_proto::v1::NameRecord;

    use super::*;

    fn pages(objects: &[(u64, usize)], size: u32) -> Vec<Vec<String>> {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let asked = Asked::new(size, &token, &["things", "filter"]).unwrap();
            let page = asked.of(
                7 + pages.len() as u64,
                objects.iter(),
                |(created, _)| Place {
                    created: *created,
                    id: format!("id{created}"),
                },
                |(created, bytes)| {
                    vec![NameRecord {
                        name: created.to_string(),
                        data: "x".repeat(*bytes),
                        ..Default::default()
                    }]
                },
            );
            assert_eq!(page.revision, 7, "that of the first page");
            pages.push(page.items.into_iter().map(|r| r.name).collect());
            token = page.next;
            if token.is_empty() {
                return pages;
            }
        }
    }

    #[test]
    fn p01_pages_hold_all_once_in_order() {
        let objects: Vec<(u64, usize)> = [5, 3, 9, 1, 7].map(|at| (at, 1)).to_vec();
        assert_eq!(
            pages(&objects, 2),
            [vec!["1", "3"], vec!["5", "7"], vec!["9"]]
        );
        assert_eq!(pages(&objects, 5), [vec!["1", "3", "5", "7", "9"]]);
        assert_eq!(pages(&[], 5), [Vec::<String>::new()]);
        assert_eq!(pages(&[(1, 9)], 0).len(), 1);
    }

    #[test]
    fn p01_pages_stay_below_what_clients_take() {
        let objects: Vec<(u64, usize)> = (0..10).map(|at| (at, 1 << 19)).collect();
        let sizes: Vec<usize> = pages(&objects, 0).iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 3, 3, 1]);
        // One that is larger than a page is alone on it.
        let objects = [(0, 1), (1, 3 << 20), (2, 1)];
        assert_eq!(pages(&objects, 0).len(), 3);
    }

    #[test]
    fn p01_tokens_of_other_lists_are_refused() {
        for token in ["zzz", "1.2", "g.1.1.x", "....", "1.1.1"] {
            let error = Asked::new(1, token, &["things"]).unwrap_err();
            assert_eq!(error.about["field"], "page_token", "{token}");
        }
        let good = token(
            Asked::new(1, "", &["a"]).unwrap().list,
            1,
            &Place::default(),
        );
        assert!(Asked::new(1, &good, &["a"]).is_ok());
        assert!(Asked::new(1, &good, &["b"]).is_err());
    }
}
