//! Messages that are filed together, and what follows from them. Pure.

use anyhow::Context;
use atalaya_bus::{Kind, Message};
use atalaya_hot::{Filed, FiledMessage};
use atalaya_model::{Action, Alert, Books, Counts};
use atalaya_proto::alert_v1 as wire;
use atalaya_schema::batch_of;
use prost::Message as _;

/// Messages filed and synced at once, at most.
pub const MAX_LOT_MESSAGES: usize = 32;

/// Bytes of the bodies filed at once; a single body may have more.
pub const MAX_LOT_BYTES: usize = 4 << 20;

/// Messages of one scope, in order.
#[derive(Debug, Default)]
pub(crate) struct Lot {
    messages: Vec<Message>,
    bytes: usize,
}

impl Lot {
    /// A lot with its first message.
    pub(crate) fn new(first: Message) -> Self {
        let mut lot = Self::default();
        lot.add(first);
        lot
    }

    /// Adds the next message.
    pub(crate) fn add(&mut self, message: Message) {
        self.bytes += message.body.len();
        self.messages.push(message);
    }

    /// Whether nothing more should be added.
    pub(crate) fn is_full(&self) -> bool {
        self.messages.len() >= MAX_LOT_MESSAGES || self.bytes >= MAX_LOT_BYTES
    }

    /// The last message.
    pub(crate) fn last(&self) -> Option<&Message> {
        self.messages.last()
    }

    fn data(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| message.headers.kind == Kind::Data)
    }

    /// The events to file; a body that was not handed on decoded is decoded here.
    pub(crate) fn events(&self, partition: u16) -> anyhow::Result<Vec<FiledMessage>> {
        self.data().map(|message| event_message(message, partition).with_context(|| place(message))).collect()
    }

    /// The books of what became of the events.
    pub(crate) fn books(&self, filed: &[Filed]) -> Books {
        let mut books = Books::default();
        for (message, filed) in self.data().zip(filed) {
            for (key, counts) in message.headers.books.iter().filter(|(_, counts)| counts.events > 0) {
                let (hot, expired) = if filed.expired > 0 { (0, counts.events) } else { (counts.events, 0) };
                books.add(key, Counts { hot, expired, ..Counts::default() });
            }
        }
        books
    }

    /// The alerts to file.
    pub(crate) fn alerts(&self) -> anyhow::Result<Vec<Alert>> {
        let mut alerts = Vec::new();
        for message in self.data() {
            let decoded = wire::Alerts::decode(message.body.clone()).with_context(|| place(message))?;
            for alert in decoded.alerts {
                alerts.push(Alert::try_from(alert).with_context(|| place(message))?);
            }
        }
        Ok(alerts)
    }

    /// The actions to file, each with whether it stands under its own tenant's subject: only then it counts.
    pub(crate) fn actions(&self) -> anyhow::Result<Vec<(Action, bool)>> {
        let action = |message: &Message| {
            let action = Action::try_from(wire::Action::decode(message.body.clone())?)?;
            let own = message.subject.token(1) == Some(action.tenant.as_str());
            anyhow::Ok((action, own))
        };
        self.data().map(|message| action(message).with_context(|| place(message))).collect()
    }
}

fn event_message(message: &Message, partition: u16) -> anyhow::Result<FiledMessage> {
    let headers = &message.headers;
    Ok(FiledMessage {
        partition,
        sequence: message.sequence,
        id: headers.id.clone(),
        raw_id: headers.covers.as_ref().map(|covers| covers.id.clone()).unwrap_or_default(),
        received_time_us: headers.received_time_us,
        body: message.body.clone(),
        batch: batch_of(message.decoded.as_ref(), &message.body)?,
    })
}

fn place(message: &Message) -> String {
    format!("{} {} on {}", message.stream, message.sequence, message.subject)
}
