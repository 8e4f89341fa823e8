//! A batch as the database's function takes it, and what it answers.
//!
//! Must not know: retries, who holds the stream.

use std::collections::HashSet;

use towpath_policy::{KIND_GIFT_WRAP, Placement, Removal, Write};
use towpath_store::{Batch, Seq, StreamId, leaves, rules};

use crate::parts::kept;
use crate::pool::Session;
use crate::row::group_bytes;
use crate::terms::{term, terms};
use crate::{Shared, row};

/// What the database answered.
pub(crate) struct Answer {
    pub(crate) outcomes: Vec<i16>,
    /// By which entry, and which: ascending by the first.
    pub(crate) removed: Vec<(Seq, (StreamId, Seq))>,
}

/// A column a field.
pub(crate) struct Columns<'a> {
    committed_at: i64,
    ids: Vec<[u8; 32]>,
    pubkeys: Vec<[u8; 32]>,
    created: Vec<i64>,
    kinds: Vec<i32>,
    sources: Vec<i16>,
    actions: Vec<i16>,
    groups: Vec<Option<Vec<u8>>>,
    expires: Vec<Option<i64>>,
    addresses: Vec<Option<[u8; 32]>>,
    jsons: Vec<&'a [u8]>,
    /// Those that something depends on: decided one by one.
    lone: Vec<bool>,
    owner_of: Vec<i32>,
    owners: Vec<[u8; 32]>,
    term_of: Vec<i32>,
    terms: Vec<i64>,
    target_of: Vec<i32>,
    targets: Vec<Option<&'a [u8]>>,
    target_addresses: Vec<Option<[u8; 32]>>,
    wrap_terms: Vec<Option<i64>>,
    removes: bool,
    replaces: bool,
    act_actions: Vec<i16>,
    act_sources: Vec<i16>,
    act_ids: Vec<Option<&'a [u8]>>,
    act_kinds: Vec<Option<i32>>,
    act_actors: Vec<Option<[u8; 32]>>,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(batch: &'a Batch) -> Self {
        let writes = &batch.writes;
        let mut seen = HashSet::new();
        let mut columns = Self {
            committed_at: i64::try_from(batch.committed_at_ms).unwrap_or(i64::MAX),
            ids: writes.iter().map(id_of).collect(),
            pubkeys: writes.iter().map(|write| *write.event().pubkey().as_bytes()).collect(),
            created: writes.iter().map(|write| kept(write.event().created_at())).collect(),
            kinds: writes.iter().map(|write| write.event().kind().into()).collect(),
            sources: writes.iter().map(|write| write.source().code().into()).collect(),
            actions: writes.iter().map(|write| leaves::action_of(write, false).code().into()).collect(),
            groups: writes.iter().map(|write| group_bytes(write.event())).collect(),
            expires: writes.iter().map(|write| write.expires_at().filter(|at| *at != u64::MAX).map(kept)).collect(),
            addresses: writes.iter().map(address_of).collect(),
            jsons: writes.iter().map(|write| &write.event().json()[..]).collect(),
            lone: writes.iter().map(|write| stands_alone(write) | !seen.insert(id_of(write))).collect(),
            owner_of: Vec::new(),
            owners: Vec::new(),
            term_of: Vec::new(),
            terms: Vec::new(),
            target_of: Vec::new(),
            targets: Vec::new(),
            target_addresses: Vec::new(),
            wrap_terms: Vec::new(),
            removes: writes.iter().any(|write| *write.removal() != Removal::None),
            replaces: writes.iter().any(|write| address_of(write).is_some()),
            act_actions: batch.acts.iter().map(|act| act.action.code().into()).collect(),
            act_sources: batch.acts.iter().map(|act| act.source.code().into()).collect(),
            act_ids: batch.acts.iter().map(|act| act.event.as_ref().map(|(id, _)| &id.as_bytes()[..])).collect(),
            act_kinds: batch.acts.iter().map(|act| act.event.map(|(_, kind)| kind.into())).collect(),
            act_actors: batch.acts.iter().map(|act| act.actor.map(|actor| *actor.as_bytes())).collect(),
        };
        for (number, write) in (1..).zip(writes) {
            columns.add_details(number, write);
        }
        columns
    }

    fn add_details(&mut self, number: i32, write: &'a Write) {
        let event = write.event();
        if event.kind() == KIND_GIFT_WRAP {
            for recipient in rules::recipients(event) {
                self.owner_of.push(number);
                self.owners.push(*recipient.as_bytes());
            }
        }
        for term in terms(event) {
            self.term_of.push(number);
            self.terms.push(term);
        }
        if let Removal::Delete(request) = write.removal() {
            for id in &request.ids {
                self.target_of.push(number);
                self.targets.push(Some(id.as_bytes()));
                self.target_addresses.push(None);
            }
            for address in request.addresses.iter().filter(|address| address.pubkey == event.pubkey()) {
                self.target_of.push(number);
                self.targets.push(None);
                self.target_addresses.push(Some(address.hash()));
            }
        }
        let removes = *write.removal() != Removal::None;
        self.wrap_terms.push(removes.then(|| term(b'p', &event.pubkey().to_hex())));
    }

    /// When the authors say they made them.
    pub(crate) fn created(&self) -> &[i64] {
        &self.created
    }

    /// Commits it as `token` to a stream with that fence and that last entry.
    pub(crate) fn send(
        &self,
        shared: &Shared,
        session: &mut Session,
        (stream, fence, last): (StreamId, i64, Seq),
        token: i64,
    ) -> Result<Answer, postgres::Error> {
        let (stream, last) = (stream.0 as i32, last.0 as i64);
        let lease_s = shared.config.lease.as_secs_f64();
        let ids: Vec<&[u8]> = self.ids.iter().map(|id| &id[..]).collect();
        let pubkeys: Vec<&[u8]> = self.pubkeys.iter().map(|key| &key[..]).collect();
        let owners: Vec<&[u8]> = self.owners.iter().map(|key| &key[..]).collect();
        let addresses = optional(&self.addresses);
        let target_addresses = optional(&self.target_addresses);
        let actors = optional(&self.act_actors);
        let rows = session.try_query(
            &shared.sql.commit,
            &[
                &stream,
                &fence,
                &last,
                &token,
                &self.committed_at,
                &lease_s,
                &ids,
                &pubkeys,
                &self.created,
                &self.kinds,
                &self.sources,
                &self.actions,
                &self.groups,
                &self.expires,
                &addresses,
                &self.jsons,
                &self.lone,
                &self.owner_of,
                &owners,
                &self.term_of,
                &self.terms,
                &self.target_of,
                &self.targets,
                &target_addresses,
                &self.wrap_terms,
                &self.removes,
                &self.replaces,
                &self.act_actions,
                &self.act_sources,
                &self.act_ids,
                &self.act_kinds,
                &actors,
            ],
        )?;
        let Some(row) = rows.first() else { return Ok(Answer { outcomes: Vec::new(), removed: Vec::new() }) };
        let outcomes: Option<Vec<i16>> = row.try_get(0)?;
        let by: Option<Vec<i64>> = row.try_get(1)?;
        let removed = row::places(row.try_get(2)?, row.try_get(3)?);
        let by = by.unwrap_or_default().into_iter().map(|seq| Seq(seq as u64));
        Ok(Answer { outcomes: outcomes.unwrap_or_default(), removed: by.zip(removed).collect() })
    }
}

fn id_of(write: &Write) -> [u8; 32] {
    *write.event().id().as_bytes()
}

fn optional(keys: &[Option<[u8; 32]>]) -> Vec<Option<&[u8]>> {
    keys.iter().map(|key| key.as_ref().map(|key| &key[..])).collect()
}

fn address_of(write: &Write) -> Option<[u8; 32]> {
    match write.placement() {
        Placement::Replaceable(address) => Some(address.hash()),
        Placement::Regular | Placement::Ephemeral => None,
    }
}

/// Whether the writes behind it may depend on it, or it on those before.
fn stands_alone(write: &Write) -> bool {
    *write.placement() != Placement::Regular || *write.removal() != Removal::None
}
