//! Every statement the store sends, written out once for its schema.

use crate::migrate::in_schema;
use crate::row::{COLUMNS, JOIN};

/// See the module.
pub(crate) struct Statements {
    pub(crate) commit: String,
    pub(crate) expire: String,
    pub(crate) due: String,
    pub(crate) vanish: String,
    pub(crate) take_stream: String,
    pub(crate) seal_streams: String,
    pub(crate) stream: String,
    pub(crate) streams: String,
    pub(crate) renew: String,
    pub(crate) release: String,
    pub(crate) head: String,
    pub(crate) snapshot: String,
    pub(crate) since: String,
    pub(crate) leaves: String,
    pub(crate) place_of: String,
    pub(crate) tiles_count: String,
    pub(crate) tiles: String,
    pub(crate) roots: String,
    pub(crate) keep_tile: String,
    pub(crate) follower: String,
    pub(crate) keep_follower: String,
    pub(crate) graves: String,
    pub(crate) forget: String,
    pub(crate) stats: String,
    pub(crate) parts: String,
    pub(crate) add_part: String,
    pub(crate) add_month: String,
    pub(crate) drop_part: String,
    pub(crate) claim: String,
    pub(crate) scan: ScanStatements,
}

/// One for each order that a scan can go by.
pub(crate) struct ScanStatements {
    pub(crate) ids: String,
    pub(crate) terms: String,
    pub(crate) authors: String,
    pub(crate) feed: String,
    pub(crate) kinds: String,
    pub(crate) time: String,
}

/// In the `from` of a statement: its transaction does not wait for the disk. For what is found out again after a crash, and would
/// otherwise keep the row of the stream from the next commit for as long as a sync takes.
const UNSYNCED: &str = "(select set_config('synchronous_commit', 'off', true)) unsynced";

/// What is read of a range: within the times, and behind an event unless it is the first read.
fn range(table: &str, since: u8, until: u8, after: u8, first: u8) -> String {
    format!(
        "{table}.created_at >= ${since} and {table}.created_at <= ${until} \
         and (${first} or {table}.created_at < ${until} or {table}.id > ${after})"
    )
}

impl Statements {
    pub(crate) fn new(schema: &str) -> Self {
        let arguments: Vec<String> =
            (1..=32).map(|n| if n == 6 { "make_interval(secs => $6)".into() } else { format!("${n}") }).collect();
        let sql = |text: &str| in_schema(text, schema);
        Self {
            commit: sql(&format!("select * from $schema.commit({})", arguments.join(", "))),
            expire: sql("select * from $schema.expire($1, $2, $3, $4, $5)"),
            // No earlier than by the database's clock: one pod's must not decide for all.
            due: sql("select exists (select 1 from $schema.events \
                 where expires_at <= least($1::bigint, floor(extract(epoch from now()))::bigint))"),
            // The lock of removals is only asked for if there is something to do.
            vanish: sql("select exists (select 1 from $schema.vanishing) and $schema.vanish($1)"),
            take_stream: sql("select * from $schema.take_stream($1, make_interval(secs => $2))"),
            seal_streams: sql("select * from $schema.seal_streams()"),
            stream: sql("select last_seq from $schema.streams where stream = $1 and fence = $2"),
            streams: sql(
                "select stream, owner, fence, last_seq, extract(epoch from lease_until - clock_timestamp())::float8, tree_size, \
                 tree_root, extract(epoch from clock_timestamp())::float8 from $schema.streams order by stream",
            ),
            renew: sql(&format!(
                "update $schema.streams set lease_until = clock_timestamp() + make_interval(secs => $3) from {UNSYNCED} \
                 where stream = $1 and fence = $2 returning last_seq"
            )),
            release: sql("update $schema.streams set lease_until = clock_timestamp() - interval '1 ms', owner = null \
                 where stream = $1 and fence = $2"),
            head: sql(&format!(
                "update $schema.streams set tree_size = $2, tree_root = $3 from {UNSYNCED} where stream = $1 and tree_size < $2"
            )),
            snapshot: sql("select stream, last_seq from $schema.streams"),
            since: sql(&format!(
                "select * from (
                    select {COLUMNS}, e.json,
                        sum(coalesce(octet_length(e.json), 0)) over (order by l.stream, l.seq)
                            - coalesce(octet_length(e.json), 0) before
                    from (
                        select s.stream, coalesce(c.seq, 0) seq from $schema.streams s
                        left join unnest($1::int[], $2::bigint[]) c(stream, seq) on c.stream = s.stream
                        where s.last_seq > coalesce(c.seq, 0) and ($5::int is null or s.stream = $5)
                    ) c cross join lateral (
                        select * from $schema.log l where l.stream = c.stream and l.seq > c.seq order by l.seq limit $3
                    ) l {JOIN}
                ) page where before <= $4::bigint order by stream, seq limit $3"
            )),
            leaves: sql(&format!(
                "select {COLUMNS} from $schema.log l where l.stream = $1 and l.seq > $2 order by l.seq limit $3"
            )),
            place_of: sql("select stream, seq from (select e.* from $schema.log l cross join lateral ( \
                     select e.stream, e.seq, e.hidden from $schema.shown e \
                     where e.created_at = l.created_at and e.id = l.event_id limit 1 \
                 ) e where l.event_id = $1 and l.record = 1 limit 1) place where not hidden"),
            tiles_count: sql("select coalesce(max(tile) + 1, 0) from $schema.tiles where stream = $1"),
            tiles: sql(
                "select tile, hashes from $schema.tiles where stream = $1 and tile between $2 and $3 order by tile",
            ),
            roots: sql(
                "select tile, root from $schema.tiles where stream = $1 and tile between $2 and $3 order by tile",
            ),
            keep_tile: sql(&format!(
                "insert into $schema.tiles select $1, $2, $3, $4 from {UNSYNCED} on conflict do nothing"
            )),
            follower: sql("select stream, seq from $schema.followers where name = $1"),
            keep_follower: sql(&format!(
                "insert into $schema.followers select $1, place.* from unnest($2::int[], $3::bigint[]) place, {UNSYNCED} \
                 on conflict (name, stream) do update set seq = greatest(followers.seq, excluded.seq)"
            )),
            graves: sql(&format!(
                "select {COLUMNS} from $schema.graves g cross join lateral ( \
                     select * from $schema.log l where l.stream = g.stream and l.seq = g.seq limit 1 \
                 ) l limit $1"
            )),
            forget: sql(
                "with dead as (select * from unnest($1::int[], $2::bigint[], $3::bytea[]) d(stream, seq, leaf)), \
                 forgotten as (update $schema.log l set leaf = d.leaf, event_id = null, kind = null, pubkey = null, \
                 group_id = null, created_at = null from dead d where l.stream = d.stream and l.seq = d.seq and l.leaf is null) \
                 delete from $schema.graves g using dead d where g.stream = d.stream and g.seq = d.seq",
            ),
            stats: sql(
                "select coalesce(sum(events), 0)::bigint, coalesce((select last_seq from $schema.streams where stream = $1), 0), \
                 pg_total_relation_size('$schema.log')::bigint, \
                 (select coalesce(sum(pg_table_size(inhrelid)), 0)::bigint from pg_inherits \
                     where inhparent = '$schema.events'::regclass), \
                 (select coalesce(sum(pg_indexes_size(inhrelid)), 0)::bigint from pg_inherits \
                     where inhparent = any (array['$schema.events', '$schema.tags']::regclass[])) \
                 from $schema.streams",
            ),
            parts: sql("select name, since, until from $schema.parts order by since"),
            add_part: sql("select $schema.add_part($1, $2, $3)"),
            add_month: sql("select $schema.add_month($1, $2, $3)"),
            drop_part: sql("select $schema.drop_part($1)"),
            claim: sql(
                "update $schema.meta set relay_key = coalesce(relay_key, $1) returning relay_key, cluster::text",
            ),
            scan: ScanStatements::new(schema),
        }
    }
}

/// Of the candidates that `inner` finds, the newest whose events come to at most so many bytes, and one in any case; with the number of
/// all of them, so that it shows when some are left out. Events are not looked into for it, however large they are. An event found
/// by several keys counts row by row: counted at once, it might be too much and leave nothing, which would read as the end.
fn bounded(inner: &str, bytes_max: u8) -> String {
    format!(
        "select n, created_at, id, stream, seq, json, total from ( \
             select c.*, count(*) over () total, \
                 sum(coalesce(octet_length(c.json), 0)) over (order by c.created_at desc, c.id rows unbounded preceding) \
                     - coalesce(octet_length(c.json), 0) before \
             from ({inner}) c(n, created_at, id, stream, seq, json) \
         ) page where before <= ${bytes_max} order by n, created_at desc, id"
    )
}

/// The order in which a scan goes through the events of a key.
const ORDER: &str = "order by created_at desc, id";

impl ScanStatements {
    fn new(schema: &str) -> Self {
        let sql = |inner: String, bytes_max: u8| in_schema(&bounded(&inner, bytes_max), schema);
        Self {
            ids: sql(by_id(), 6),
            terms: sql(by_term(), 9),
            authors: sql(by_author(), 8),
            feed: sql(feed(), 8),
            kinds: sql(by_kind(), 8),
            time: sql(by_time(), 6),
        }
    }
}

fn by_id() -> String {
    format!(
        "select row_number() over (), e.created_at, e.id, e.stream, e.seq, e.json \
         from (select distinct l.created_at, l.event_id from $schema.log l \
               where l.event_id = any ($1) and l.record = 1) l \
         cross join lateral ( \
             select e.created_at, e.id, e.stream, e.seq, e.json from $schema.shown e \
             where e.created_at = l.created_at and e.id = l.event_id and {} limit 1 \
         ) e",
        range("e", 2, 3, 4, 5)
    )
}

fn by_term() -> String {
    format!(
        "select k.n, x.created_at, x.id, e.stream, e.seq, e.json \
         from unnest($1::bigint[]) with ordinality k(key, n) cross join lateral ( \
             select t.created_at, t.id from $schema.tags t \
             where t.term = k.key and {} and ($7::int[] is null or t.kind = any ($7)) {ORDER} limit $6 \
         ) x left join lateral ( \
             select e.stream, e.seq, e.json from $schema.shown e where e.created_at = x.created_at and e.id = x.id \
                 and ($8::bytea[] is null or e.pubkey = any ($8)) limit 1 \
         ) e on true",
        range("t", 2, 3, 4, 5)
    )
}

fn by_author() -> String {
    format!(
        "select k.n, x.* from unnest($1::bytea[]) with ordinality k(key, n) cross join lateral ( \
             select e.created_at, e.id, e.stream, e.seq, e.json from $schema.shown e \
             where e.pubkey = k.key and {} and ($7::int[] is null or e.kind = any ($7)) {ORDER} limit $6 \
         ) x",
        range("e", 2, 3, 4, 5)
    )
}

/// The newest of many authors together. A few of each show which the last of them can be, and only who has more than a few up to that one
/// is read on: by its id, too, or all would be who wrote much in its second. All of that is in the index; only those that are taken are
/// looked up.
fn feed() -> String {
    // Together more than are wanted.
    let few = "3 + 2 * $6::bigint / cardinality($1::bytea[])";
    let newest = |columns: &str, more: &str, limit: &str| {
        format!(
            "select {columns} from $schema.events e where e.pubkey = k.key and {}{more} \
                 and ($7::int[] is null or e.kind = any ($7)) {ORDER} limit {limit}",
            range("e", 2, 3, 4, 5)
        )
    };
    format!(
        "with few as materialized ( \
             select k.key, x.* from unnest($1::bytea[]) k(key) cross join lateral ({}) x \
         ), bound as materialized ( \
             select created_at, id from few {ORDER} offset $6 - 1 limit 1 \
         ), newest as materialized ( \
             select created_at, id from few union \
             select x.* from few k left join bound on true cross join lateral ({}) x \
                 where k.nth = {few} and (bound.id is null or k.created_at > bound.created_at \
                     or k.created_at = bound.created_at and k.id <= bound.id) \
             {ORDER} limit $6 \
         ) \
         select 1::bigint, x.created_at, x.id, e.stream, e.seq, e.json from newest x left join lateral ( \
             select e.stream, e.seq, e.json from $schema.shown e where e.created_at = x.created_at and e.id = x.id limit 1 \
         ) e on true",
        newest("e.created_at, e.id, row_number() over (order by e.created_at desc, e.id) nth", "", few),
        newest(
            "e.created_at, e.id",
            " and e.created_at >= coalesce(bound.created_at, $2) and e.created_at <= k.created_at",
            "$6"
        )
    )
}

/// The authors are looked up in a hash table, which the server makes of what a subquery answers, but not of a parameter.
fn by_kind() -> String {
    format!(
        "select k.n, x.created_at, x.id, x.stream, x.seq, \
             case when $7::bytea[] is null or x.pubkey in (select unnest($7::bytea[])) then x.json end \
         from unnest($1::int[]) with ordinality k(key, n) cross join lateral ( \
             select e.created_at, e.id, e.stream, e.seq, e.json, e.pubkey from $schema.shown e \
             where e.kind = k.key and {} {ORDER} limit $6 \
         ) x",
        range("e", 2, 3, 4, 5)
    )
}

fn by_time() -> String {
    format!(
        "select 1::bigint, e.created_at, e.id, e.stream, e.seq, e.json from $schema.shown e where {} {ORDER} limit $5",
        range("e", 1, 2, 3, 4)
    )
}
