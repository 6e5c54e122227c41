//! A detector's state as bytes, and which rules of one set are the same in another.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::state::State;
use super::{Compiled, Detector, Limits};
use crate::sigma::RuleSet;

/// A state that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a detector's state cannot be read: {0}")]
pub struct ImageError(#[from] postcard::Error);

/// Identity of a rule that counts: id and revision.
type RuleKey = (String, String);

#[derive(Serialize)]
struct Image<'s> {
    rules: Vec<RuleKey>,
    state: &'s State,
}

#[derive(Deserialize)]
struct OwnedImage {
    rules: Vec<RuleKey>,
    state: State,
}

fn keys(set: &RuleSet) -> Vec<RuleKey> {
    set.rules.iter().map(|rule| (rule.id.clone(), rule.rev.clone())).collect()
}

/// Where the rules of a set stand in another, for those that are the same there and write alerts there too.
pub(super) fn places(from: &RuleSet, to: &Compiled) -> BTreeMap<usize, usize> {
    places_of(&keys(from), to)
}

fn places_of(from: &[RuleKey], to: &Compiled) -> BTreeMap<usize, usize> {
    let there: HashMap<RuleKey, usize> = keys(&to.set).into_iter().enumerate().map(|(at, key)| (key, at)).collect();
    let place =
        |(at, key): (usize, &RuleKey)| Some((at, *there.get(key).filter(|&&to_at| to.tracks.policy(to_at).is_some())?));
    from.iter().enumerate().filter_map(place).collect()
}

impl Detector {
    /// Everything it remembers. The same state gives the same bytes.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn image(&self) -> Result<Vec<u8>, ImageError> {
        Ok(postcard::to_allocvec(&Image { rules: keys(&self.compiled.set), state: &self.state })?)
    }

    /// A detector that remembers what an image says. Groups of rules that are not the same in this set are forgotten:
    /// the set is to be the one the image was made with.
    ///
    /// # Errors
    /// If the bytes are no image.
    pub fn from_image(bytes: &[u8], compiled: Arc<Compiled>, limits: Limits) -> Result<Self, ImageError> {
        let OwnedImage { rules, mut state } = postcard::from_bytes(bytes)?;
        let places = places_of(&rules, &compiled);
        for tenant in state.domains.values_mut().flat_map(|domain| domain.tenants.values_mut()) {
            let groups = std::mem::take(&mut tenant.rules).into_iter();
            tenant.rules = groups.filter_map(|(rule, groups)| Some((*places.get(&rule)?, groups))).collect();
        }
        Ok(Self { compiled, limits, state })
    }
}
