//! What records of one entity with the same keys have in common, kept once.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::value::{Datum, Name};
use crate::schema::Entity;

/// Layouts of one entity that are looked through before another one is made.
const KNOWN: usize = 64;

/// Layouts that are found from one another: one with a key more, one of those without another.
const STEPS: u8 = 4;

/// An entity and keys in order.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) entity: Name,
    /// What the tables know of the entity.
    pub(crate) shape: Option<&'static Entity>,
    keys: Box<[Name]>,
    /// The first one that was made for a record of this layout: what happens to one happens to all of them when a side does
    /// not hold a key.
    next: OnceLock<Arc<Layout>>,
    step: u8,
}

impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || (self.entity == other.entity && self.keys == other.keys)
    }
}

impl Eq for Layout {}

impl Layout {
    pub(crate) fn new(entity: &Name, shape: Option<&'static Entity>, list: &[(Name, Datum)], step: u8) -> Self {
        Self {
            entity: Name::clone(entity),
            shape,
            keys: list.iter().map(|(key, _)| Name::clone(key)).collect(),
            next: OnceLock::new(),
            step,
        }
    }

    pub(super) fn keys(&self) -> &[Name] {
        &self.keys
    }

    /// Which value is that of a key.
    pub(super) fn place(&self, key: &str) -> Option<usize> {
        self.keys.binary_search_by(|name| (**name).cmp(key)).ok()
    }

    fn has(&self, list: &[(Name, Datum)]) -> bool {
        let same = |(a, b): (&Name, &Name)| Arc::ptr_eq(a, b) || a == b;
        self.keys.len() == list.len() && self.keys.iter().zip(list.iter().map(|(key, _)| key)).all(same)
    }

    /// The layout of a record of the same entity with these keys.
    pub(super) fn with(self: &Arc<Self>, list: &[(Name, Datum)]) -> Arc<Self> {
        if self.has(list) {
            return Arc::clone(self);
        }
        let new = || Arc::new(Self::new(&self.entity, self.shape, list, self.step.saturating_add(1)));
        if self.step >= STEPS {
            return new();
        }
        let next = self.next.get_or_init(new);
        if next.has(list) { Arc::clone(next) } else { new() }
    }
}

/// Layouts that were met, by entity. Of an entity with very many the first ones are shared, the others are not.
#[derive(Debug, Default)]
pub(crate) struct Layouts(HashMap<Name, Vec<Arc<Layout>>>);

impl Layouts {
    pub(crate) fn layout(
        &mut self,
        entity: &Name,
        shape: Option<&'static Entity>,
        list: &[(Name, Datum)],
    ) -> Arc<Layout> {
        let known = match self.0.get_mut(entity) {
            Some(known) => known,
            None => self.0.entry(Name::clone(entity)).or_default(),
        };
        if let Some(layout) = known.iter().find(|layout| layout.has(list)) {
            return Arc::clone(layout);
        }
        let new = Arc::new(Layout::new(entity, shape, list, 0));
        if known.len() < KNOWN {
            known.push(Arc::clone(&new));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_with_the_same_keys_share_their_layout() {
        let mut layouts = Layouts::default();
        let entity: Name = "entity".into();
        let list = |keys: &[&str]| -> Vec<(Name, Datum)> {
            let pair = |key: &&str| (Name::from(*key), Datum::Boolean(true));
            keys.iter().map(pair).collect()
        };
        let ab = layouts.layout(&entity, None, &list(&["a", "b"]));
        assert!(Arc::ptr_eq(&ab, &layouts.layout(&entity, None, &list(&["a", "b"]))));
        assert!(Arc::ptr_eq(&ab, &ab.with(&list(&["a", "b"]))));
        let a = ab.with(&list(&["a"]));
        assert!(Arc::ptr_eq(&a, &ab.with(&list(&["a"]))));
        assert!(!Arc::ptr_eq(&ab, &ab.with(&list(&["b"]))));
        assert_eq!(*a, *layouts.layout(&entity, None, &list(&["a"])));
        assert_eq!((ab.place("b"), a.place("b")), (Some(1), None));
    }

    #[test]
    fn layouts_that_are_made_from_one_another_are_no_endless_chain() {
        let list = |keys: usize| vec![(Name::from("a"), Datum::Boolean(true)); keys];
        let mut layout = Arc::new(Layout::new(&"entity".into(), None, &[], 0));
        let first = Arc::clone(&layout);
        for step in 1..100_000 {
            layout = layout.with(&list(step % 2));
        }
        let mut chain = 0;
        let mut next = first.next.get();
        while let Some(layout) = next {
            chain += 1;
            next = layout.next.get();
        }
        assert_eq!(chain, usize::from(STEPS));
    }
}
