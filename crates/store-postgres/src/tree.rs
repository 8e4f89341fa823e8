//! The audit trees: grown in memory by whoever owns the stream, kept in the database a tile of 256 leaves at a time.
//!
//! What a commit makes durable is the log's rows, from which every leaf follows; tiles are written behind it, and what they lack is
//! hashed from the rows. Must not know: how leaves are encoded, who asks.

use towpath_audit::{Hash, HashSource, Head, TILE_WIDTH as TILE, Tree};
use towpath_store::{Error, Seq, StreamId};

use crate::Shared;
use crate::pool::Session;
use crate::row;

/// Rows read at once to bring a tree up to its log.
const ROWS_MAX: i64 = 8_192;

/// A stream's tree, and the leaf hashes that have no tile yet.
pub(crate) struct GrowingTree {
    tree: Tree,
    /// Tiles that are in the database.
    tiles: u64,
    rest: Vec<Hash>,
}

impl GrowingTree {
    /// Over the stream's first `last` entries, but no more than `most` behind those that have tiles.
    pub(crate) fn load(
        shared: &Shared,
        session: &mut Session,
        stream: StreamId,
        last: Seq,
        most: u64,
    ) -> Result<Self, Error> {
        let rows = session.query("read the audit tree", &shared.sql.tiles_count, &[&(stream.0 as i32)])?;
        let tiles = rows.first().map_or(0, |row| row.get::<_, i64>(0) as u64);
        if tiles * TILE > last.0 {
            // It would grow on from entries that are none, and every root from then on would be wrong.
            let what = format!("the audit tree of stream {} is over more than its {last} entries", stream.0);
            return Err(Error::Corrupt(what));
        }
        let tree = Tree::resume(tiles * TILE, &Tiles { shared, session: session.into(), stream })?;
        let mut growing = Self { tree, tiles, rest: Vec::new() };
        let end = last.0.min((tiles * TILE).saturating_add(most));
        while growing.tree.size() < end {
            let from = growing.tree.size();
            for hash in hashes_of_rows(shared, session, stream, from, ROWS_MAX.min((end - from) as i64))? {
                growing.append(hash);
            }
            if growing.tree.size() == from {
                return Err(Error::Corrupt(format!("stream {} lacks entry {}", stream.0, from + 1)));
            }
            growing.keep(shared, session, stream)?;
        }
        Ok(growing)
    }

    pub(crate) fn append(&mut self, hash: Hash) {
        self.tree.append(hash, |_| ());
        self.rest.push(hash);
    }

    pub(crate) fn head(&self) -> Head {
        self.tree.head()
    }

    /// Writes the tiles that have become complete.
    pub(crate) fn keep(&mut self, shared: &Shared, session: &mut Session, stream: StreamId) -> Result<(), Error> {
        let (first, hashes) = self.complete_tiles();
        self.kept(write_tiles(shared, session, stream, first, &hashes)?);
        Ok(())
    }

    /// Takes the leaf hashes that have no tile yet, with the number of the first's tile; [`GrowingTree::kept`] says they have.
    pub(crate) fn complete_tiles(&self) -> (u64, Vec<Hash>) {
        let complete = self.rest.len() / TILE as usize * TILE as usize;
        (self.tiles, self.rest[..complete].to_vec())
    }

    /// So many tiles are in the database now.
    pub(crate) fn kept(&mut self, tiles: u64) {
        let more = tiles.saturating_sub(self.tiles);
        let hashes = usize::try_from(more * TILE).unwrap_or(usize::MAX).min(self.rest.len());
        self.rest.drain(..hashes);
        self.tiles += more;
    }
}

/// Writes tiles from number `first` on.
pub(crate) fn write_tiles(
    shared: &Shared,
    session: &mut Session,
    stream: StreamId,
    first: u64,
    hashes: &[Hash],
) -> Result<u64, Error> {
    let mut number = first;
    for tile in hashes.chunks_exact(TILE as usize) {
        let bytes: Vec<u8> = tile.iter().flat_map(|hash| hash.0).collect();
        let root = root_of(tile.to_vec());
        let parameters: [&(dyn postgres::types::ToSql + Sync); 4] =
            [&(stream.0 as i32), &(number as i64), &bytes, &&root.0[..]];
        session.query("keep the audit tree", &shared.sql.keep_tile, &parameters)?;
        number += 1;
    }
    Ok(number)
}

/// `count` hashes of `level` from `first` on, of a tree of `size` leaves; `None` if it has not so many.
pub(crate) fn hashes(
    shared: &Shared,
    session: &mut Session,
    (stream, size): (StreamId, u64),
    level: u8,
    first: u64,
    count: usize,
) -> Result<Option<Vec<Hash>>, Error> {
    let span = TILE.checked_pow(level.into());
    let end = first.checked_add(count as u64).zip(span).and_then(|(end, span)| end.checked_mul(span));
    if end.is_none_or(|end| end > size) {
        return Ok(None);
    }
    Tiles { shared, session: session.into(), stream }.hashes(level, first, count).map(Some)
}

/// The hashes of leaves `from + 1` on, from the log.
fn hashes_of_rows(
    shared: &Shared,
    session: &mut Session,
    stream: StreamId,
    from: u64,
    count: i64,
) -> Result<Vec<Hash>, Error> {
    let rows = session.query("read the log", &shared.sql.leaves, &[&(stream.0 as i32), &(from as i64), &count])?;
    rows.iter().map(|row| Ok(row::leaf_of(row)?.hash())).collect()
}

/// The hash over a power of two of neighbours.
fn root_of(mut row: Vec<Hash>) -> Hash {
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| Hash::of_node(&pair[0], &pair[pair.len() - 1])).collect();
    }
    row.first().copied().unwrap_or_else(Hash::of_nothing)
}

/// What the database has of a tree.
struct Tiles<'a> {
    shared: &'a Shared,
    session: std::cell::RefCell<&'a mut Session>,
    stream: StreamId,
}

impl HashSource for Tiles<'_> {
    type Error = Error;

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Error> {
        match level {
            0 => self.leaves(first, count),
            1 => self.roots(first, count),
            // Level by level: what is above the tiles is little.
            _ => {
                let below = self.hashes(level - 1, first * TILE, count * TILE as usize)?;
                Ok(below.chunks(TILE as usize).map(|tile| root_of(tile.to_vec())).collect())
            }
        }
    }
}

impl Tiles<'_> {
    fn leaves(&self, first: u64, count: usize) -> Result<Vec<Hash>, Error> {
        let (stream, end) = (self.stream.0 as i32, first + count as u64);
        let mut session = self.session.borrow_mut();
        let range = [(first / TILE) as i64, (end.max(1) - 1) as i64 / TILE as i64];
        let rows = session.query("read the audit tree", &self.shared.sql.tiles, &[&stream, &range[0], &range[1]])?;
        let mut leaves = Vec::with_capacity(count);
        let mut next = first / TILE * TILE;
        for row in &rows {
            if row.get::<_, i64>(0) as u64 * TILE != next {
                break;
            }
            leaves.extend(row.get::<_, &[u8]>(1).as_chunks().0.iter().map(|hash| Hash(*hash)));
            next += TILE;
        }
        let skipped = usize::try_from(first - first / TILE * TILE).unwrap_or(0).min(leaves.len());
        leaves.drain(..skipped);
        leaves.truncate(count);
        while leaves.len() < count {
            let from = first + leaves.len() as u64;
            let wanted = ROWS_MAX.min((count - leaves.len()) as i64);
            let more = hashes_of_rows(self.shared, &mut session, self.stream, from, wanted)?;
            if more.is_empty() {
                return Err(Error::Corrupt("the log lacks entries of its audit tree".into()));
            }
            leaves.extend(more);
        }
        Ok(leaves)
    }

    fn roots(&self, first: u64, count: usize) -> Result<Vec<Hash>, Error> {
        let (stream, last) = (self.stream.0 as i32, (first + count as u64) as i64 - 1);
        let rows = self.session.borrow_mut().query(
            "read the audit tree",
            &self.shared.sql.roots,
            &[&stream, &(first as i64), &last],
        )?;
        let mut roots: Vec<Hash> = Vec::with_capacity(count);
        for row in &rows {
            if row.get::<_, i64>(0) as u64 == first + roots.len() as u64 {
                roots.push(Hash(row.get::<_, &[u8]>(1).try_into().map_err(|_| row::malformed("audit tree"))?));
            }
        }
        while roots.len() < count {
            let tile = self.leaves((first + roots.len() as u64) * TILE, TILE as usize)?;
            roots.push(root_of(tile));
        }
        Ok(roots)
    }
}
