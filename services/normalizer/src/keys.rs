//! From a field's key to its rule, mostly without hashing.
//!
//! Records of one log have their fields in nearly the same order. So each key remembers the key that came after it
//! last time, and the first look is there. What is remembered changes how fast a key is found, never what is found.

use std::collections::HashMap;

use crate::mapping::Plan;

/// Keys without a rule that are remembered per log; further ones are looked up each time.
const MAX_LEARNED_KEYS: usize = 4_096;

/// A key's place in [`Keys`].
pub(crate) type Slot = u16;

/// The place of a key that is not remembered, and what comes before a record's first key.
pub(crate) const UNKNOWN: Slot = 0;

#[derive(Debug)]
struct Known {
    key: Box<str>,
    rule: Option<u8>,
    /// Its key in `unmapped`.
    name: Box<str>,
    next: Slot,
}

/// The keys of one plan.
#[derive(Debug)]
pub(crate) struct Keys {
    known: Vec<Known>,
    index: HashMap<Box<str>, Slot>,
}

impl Keys {
    /// The keys that a plan has rules for.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut keys = Self { known: Vec::new(), index: HashMap::new() };
        keys.learn("", None, "");
        let mut rules: Vec<_> = plan.keys.iter().collect();
        rules.sort_unstable();
        for (key, &rule) in rules {
            keys.learn(key, Some(rule), &plan.rules[usize::from(rule)].key);
        }
        keys
    }

    fn learn(&mut self, key: &str, rule: Option<u8>, name: &str) -> Slot {
        let slot = Slot::try_from(self.known.len()).unwrap_or(UNKNOWN);
        self.known.push(Known { key: key.into(), rule, name: name.into(), next: UNKNOWN });
        self.index.insert(key.into(), slot);
        slot
    }

    /// The place of a key that stands after the key at `previous`.
    #[inline]
    pub(crate) fn find(&mut self, previous: Slot, key: &str, plan: &Plan) -> Slot {
        let guess = self.known[usize::from(previous)].next;
        if guess != UNKNOWN && *self.known[usize::from(guess)].key == *key {
            return guess;
        }
        let slot = match self.index.get(key) {
            Some(&slot) => slot,
            None if self.known.len() < MAX_LEARNED_KEYS => {
                self.learn(key, None, plan.aliases.get(key).map_or(key, String::as_str))
            }
            None => UNKNOWN,
        };
        self.known[usize::from(previous)].next = slot;
        slot
    }

    /// The rule of a key.
    pub(crate) fn rule(&self, slot: Slot) -> Option<u8> {
        self.known[usize::from(slot)].rule
    }

    /// The key in `unmapped`; none if it is not remembered.
    pub(crate) fn name(&self, slot: Slot) -> Option<&str> {
        (slot != UNKNOWN).then(|| &*self.known[usize::from(slot)].name)
    }
}
