//! Maps by id that share what does not change: a copy costs nothing, and a change to it copies a few nodes, whose ids are
//! counted and not copied.

use std::{ops::Bound, sync::Arc};

use imbl::OrdMap;

/// Values by id or by name.
#[derive(Clone, Debug, PartialEq)]
pub struct ById<V: Clone>(OrdMap<Arc<str>, V>);

impl<V: Clone> Default for ById<V> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<V: Clone> ById<V> {
    /// The value of an id.
    pub fn get(&self, id: &str) -> Option<&V> {
        self.0.get(id)
    }

    /// The value of an id, to change it.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut V> {
        self.0.get_mut(id)
    }

    /// Whether there is a value.
    pub fn contains_key(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Adds or changes a value. Returns what was there.
    pub fn insert(&mut self, id: impl Into<Arc<str>>, value: V) -> Option<V> {
        self.0.insert(id.into(), value)
    }

    /// Removes a value. Returns it.
    pub fn remove(&mut self, id: &str) -> Option<V> {
        self.0.remove(id)
    }

    /// Ids, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|id| &**id)
    }

    /// Values, in the order of their ids.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values()
    }

    /// Ids with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.0.iter().map(|(id, value)| (&**id, value))
    }

    /// Those whose ids begin so, in order.
    pub fn beginning<'a>(&'a self, prefix: &str) -> impl Iterator<Item = (&'a str, &'a V)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let behind = self.0.range::<_, str>(from);
        let behind = behind.map(|(id, value)| (&**id, value));
        behind.take_while(move |(id, _)| id.starts_with(prefix))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V: Clone + Default> ById<V> {
    /// The value of an id, which is made if there is none.
    pub fn entry(&mut self, id: &str) -> &mut V {
        self.0.entry(id.into()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut map = ById::default();
        assert_eq!(map.insert("ab", 1), None);
        let copy = map.clone();
        assert_eq!(map.insert("ab", 2), Some(1));
        *map.entry("ac") += 7;
        map.insert("b", 3);
        assert_eq!(copy.iter().collect::<Vec<_>>(), [("ab", &1)]);
        assert_eq!(
            map.beginning("a").collect::<Vec<_>>(),
            [("ab", &2), ("ac", &7)]
        );
        assert_eq!(map.remove("ab"), Some(2));
        assert!(map.remove("ab").is_none() && copy.contains_key("ab") && map.len() == 2);
    }
}
