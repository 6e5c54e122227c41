//! The events that RAW must become: a pure pass over its messages, to be compared with what the stores hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use anyhow::ensure;
use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use atalaya_model::{Class, Tenant};
use atalaya_normalizer::{Enrichment, Mappings, normalize};
use atalaya_proto::raw::RawBody;
use atalaya_schema::col;

/// An event's id: 16 bytes.
pub type Id = Vec<u8>;

/// Event ids and parked records.
#[derive(Debug, Default)]
pub struct Expected {
    /// Ids by tenant and class.
    pub events: BTreeMap<(Tenant, Class), BTreeSet<Id>>,
    /// RAW message and ordinal of the record there.
    pub parked: BTreeSet<(String, u32)>,
}

impl Expected {
    /// What the bodies of RAW messages must become.
    ///
    /// # Errors
    /// If a body or the mappings cannot be read, or two events have one id.
    pub fn of<'b>(
        bodies: impl IntoIterator<Item = &'b bytes::Bytes>,
        enrichment: &Arc<Enrichment>,
        partitions: u16,
    ) -> anyhow::Result<Self> {
        static MAPPINGS: LazyLock<Result<Arc<Mappings>, String>> =
            LazyLock::new(|| Mappings::built_in().map(Arc::new).map_err(|error| error.to_string()));
        let mappings = MAPPINGS.as_ref().map_err(anyhow::Error::msg)?;
        let mut expected = Self::default();
        for body in bodies {
            let normalized = normalize(&RawBody::decode(body)?, mappings, enrichment, partitions)?;
            for events in normalized.events.iter().map(|events| &events.events) {
                for (tenant, id) in tenants(&events.rows).into_iter().zip(ids(&events.rows)) {
                    let new = expected.events.entry((tenant.parse()?, events.class)).or_default().insert(id);
                    ensure!(new, "two events of the input have one id");
                }
            }
            expected.parked.extend(normalized.parked.into_iter().map(|parked| (parked.raw_id, parked.record)));
        }
        Ok(expected)
    }

    /// How many events there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.events.values().map(BTreeSet::len).sum()
    }

    /// Everybody with an event.
    #[must_use]
    pub fn tenants(&self) -> BTreeSet<&Tenant> {
        self.events.keys().map(|(tenant, _)| tenant).collect()
    }

    /// Ids of the events that `wanted` picks.
    pub fn ids(&self, wanted: impl Fn(&Tenant, Class) -> bool) -> Vec<Id> {
        let picked = self.events.iter().filter(|((tenant, class), _)| wanted(tenant, *class));
        picked.flat_map(|(_, ids)| ids.iter().cloned()).collect()
    }
}

/// Whether a store holds what it must, each once.
///
/// # Errors
/// If not, with the counts of both.
pub fn same(what: &str, mut expected: Vec<Id>, mut found: Vec<Id>) -> anyhow::Result<()> {
    expected.sort_unstable();
    found.sort_unstable();
    let distinct = found.iter().collect::<BTreeSet<_>>().len();
    let missing = expected.iter().filter(|id| found.binary_search(id).is_err()).count();
    let foreign = found.iter().filter(|id| expected.binary_search(id).is_err()).count();
    ensure!(
        expected == found,
        "{what}: {} expected, {} found, {} of them again, {foreign} of them not expected, {missing} missing",
        expected.len(),
        found.len(),
        found.len() - distinct
    );
    Ok(())
}

/// The ids of rows.
#[must_use]
pub fn ids(rows: &RecordBatch) -> Vec<Id> {
    rows.column(col::EVENT_ID).as_binary::<i32>().iter().flatten().map(<[u8]>::to_vec).collect()
}

fn tenants(rows: &RecordBatch) -> Vec<String> {
    let column = rows.column(col::TENANT).as_dictionary::<Int32Type>();
    let names = column.downcast_dict::<StringArray>();
    names.into_iter().flatten().map(|name| name.unwrap_or_default().to_owned()).collect()
}
