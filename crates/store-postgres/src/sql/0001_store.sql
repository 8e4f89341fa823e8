-- The store's tables. `$schema` is replaced by the schema's name.
--
-- log      one row an entry, for ever: what the audit leaf says. One process appends to a stream, so it has no gaps.
-- events   what can be queried, with its canonical bytes; the one place that has them. By time, so that the busy indexes stay small.
-- tags     what events are found by beside author, kind and time: 64 bits of the hash of a tag's name and value.

create table $schema.streams (
    stream      int primary key,
    fence       bigint not null,
    owner       text,
    lease_until timestamptz not null,
    last_seq    bigint not null default 0,
    -- Accepted less removed, by this stream's commits: the sum over the streams is what is stored, hidden or not.
    events      bigint not null default 0,
    -- The last commit and what came of it, for a process that lost the answer.
    token       bigint,
    outcomes    smallint[],
    tree_size   bigint not null default 0,
    tree_root   bytea
) with (fillfactor = 20);

create table $schema.log (
    stream          int not null,
    seq             bigint not null,
    committed_at    bigint not null,
    -- 1 an event, 2 an expiry, 3 an act
    record          smallint not null,
    action          smallint not null,
    source          smallint not null,
    event_id        bytea,
    kind            int,
    pubkey          bytea,
    group_id        bytea,
    created_at      bigint,
    removed_streams int[],
    removed_seqs    bigint[],
    -- The leaf's hash, once its owner has vanished and the rest is gone.
    leaf            bytea,
    primary key (stream, seq)
);
create index log_event on $schema.log (event_id) where record = 1 and event_id is not null;

create table $schema.events (
    created_at bigint not null,
    id         bytea not null,
    pubkey     bytea not null,
    kind       int not null,
    stream     int not null,
    seq        bigint not null,
    expires_at bigint,
    address    bytea,
    terms      bigint[],
    json       bytea not null
) partition by range (created_at);
create unique index events_id on $schema.events (created_at desc, id);
create index events_author on $schema.events (pubkey, created_at desc, id, kind);
create index events_kind on $schema.events (kind, created_at desc, id);
create index events_expiry on $schema.events (expires_at) where expires_at is not null;

create table $schema.tags (
    term       bigint not null,
    created_at bigint not null,
    id         bytea not null,
    kind       int not null
) partition by range (created_at);
create index tags_term on $schema.tags (term, created_at desc, id, kind);

-- The version that is stored under an address.
create table $schema.versions (
    address    bytea primary key,
    created_at bigint not null,
    id         bytea not null,
    stream     int not null,
    seq        bigint not null
);
create table $schema.deleted_ids (
    id      bytea not null,
    deleter bytea not null,
    primary key (id, deleter)
);
create table $schema.deleted_addresses (
    address bytea primary key,
    until   bigint not null
);
create table $schema.vanished (
    pubkey bytea primary key,
    until  bigint not null
);
-- Of those, whose events are not all erased yet: what is left up to `until` is hidden, and goes step by step, the newest first.
create table $schema.vanishing (
    pubkey bytea primary key,
    until  bigint not null,
    term   bigint not null,
    -- There may be gift wraps. Who is named often need not be looked through for them at each step.
    wraps  boolean not null default true
);
create index vanishing_term on $schema.vanishing (term);
-- Entries whose leaf must be forgotten but for its hash: their owner has vanished.
create table $schema.graves (
    stream int not null,
    seq    bigint not null,
    primary key (stream, seq)
);
-- Entries whose event is gone, by author: should they vanish, these become graves.
create table $schema.gone (
    pubkey bytea not null,
    stream int not null,
    seq    bigint not null,
    primary key (pubkey, stream, seq)
);
-- The audit tree: 256 leaf hashes a row, and the root over them.
create table $schema.tiles (
    stream int not null,
    tile   bigint not null,
    hashes bytea not null,
    root   bytea not null,
    primary key (stream, tile)
);
create table $schema.followers (
    name   text not null,
    stream int not null,
    seq    bigint not null,
    primary key (name, stream)
);
-- The parts that events and tags are kept in, by the time their authors claim.
--
-- Everybody locks `tags` before `events`, and either before its parts, and has `tags` before an advisory lock that others wait for: who
-- changes the parts then waits for who is at work, and is waited for by who comes later, and nobody for each other.
create table $schema.parts (
    name  text primary key,
    since bigint not null,
    until bigint not null
);

-- Adds the part of events and tags from `p_since` up to before `p_until`. A table that is made by itself and attached then: made as a part,
-- it would wait for all who read or write, a backup among them, and everybody else for it.
create function $schema.add_part(p_name text, p_since bigint, p_until bigint) returns void language plpgsql as $$
declare
    v_range text := format('for values from (%s) to (%s)', p_since, p_until);
begin
    if exists (select 1 from $schema.parts where name = p_name) then
        return;
    end if;
    execute format('create table $schema.%I (like $schema.tags including all)', 'tags_' || p_name);
    execute format('create table $schema.%I (like $schema.events including all)', 'events_' || p_name);
    execute format('alter table $schema.%I alter column json set storage external', 'events_' || p_name);
    execute format('alter table $schema.tags attach partition $schema.%I %s', 'tags_' || p_name, v_range);
    execute format('alter table $schema.events attach partition $schema.%I %s', 'events_' || p_name, v_range);
    insert into $schema.parts values (p_name, p_since, p_until);
end $$;

-- Other changes of the parts need a lock that commits wait for, so nobody waits long for that lock: what does not get it is done another
-- time. But longer than the second after which the server ends an autovacuum that is in the way: one that goes on and on would win each time.

-- Adds a part in front of the last, which is open to the future, and moves there what the last has of it.
create function $schema.add_month(p_name text, p_since bigint, p_until bigint) returns void language plpgsql
    set lock_timeout = '1500ms' as $$
begin
    perform 1 from $schema.parts where name = 'rest' and since = p_since for update;
    if not found then
        return;
    end if;
    lock table only $schema.tags, only $schema.events in access exclusive mode;
    alter table $schema.tags detach partition $schema.tags_rest;
    alter table $schema.events detach partition $schema.events_rest;
    perform $schema.add_part(p_name, p_since, p_until);
    with moved as (delete from $schema.events_rest where created_at < p_until returning *)
        insert into $schema.events select * from moved;
    with moved as (delete from $schema.tags_rest where created_at < p_until returning *)
        insert into $schema.tags select * from moved;
    execute format('alter table $schema.events attach partition $schema.events_rest for values from (%s) to (maxvalue)', p_until);
    execute format('alter table $schema.tags attach partition $schema.tags_rest for values from (%s) to (maxvalue)', p_until);
    update $schema.parts set since = p_until where name = 'rest';
end $$;

-- Drops a part that has become empty; whether it was. A late event of that time has it made again.
create function $schema.drop_part(p_name text) returns boolean language plpgsql set lock_timeout = '1500ms' as $$
declare
    v_held boolean;
begin
    perform 1 from $schema.parts where name = p_name for update;
    if not found then
        return false;
    end if;
    execute format('select exists (select 1 from $schema.%I)', 'events_' || p_name) into v_held;
    if v_held then
        return false;
    end if;
    lock table only $schema.tags, only $schema.events in access exclusive mode;
    execute format('select exists (select 1 from $schema.%I)', 'events_' || p_name) into v_held;
    if v_held then
        return false;
    end if;
    execute format('drop table $schema.%I, $schema.%I', 'events_' || p_name, 'tags_' || p_name);
    delete from $schema.parts where name = p_name;
    return true;
end $$;

-- Removes one event with what it is found by; its place, or nothing if it is not there.
create function $schema.take_out(p_created_at bigint, p_id bytea, out o_stream int, out o_seq bigint) language plpgsql as $$
declare
    v_terms bigint[];
    v_address bytea;
    v_pubkey bytea;
begin
    delete from $schema.events e where e.created_at = p_created_at and e.id = p_id
        returning e.stream, e.seq, e.terms, e.address, e.pubkey into o_stream, o_seq, v_terms, v_address, v_pubkey;
    if not found then
        return;
    end if;
    insert into $schema.gone values (v_pubkey, o_stream, o_seq);
    if v_terms is not null then
        delete from $schema.tags t where t.term = any (v_terms) and t.created_at = p_created_at and t.id = p_id;
    end if;
    if v_address is not null then
        delete from $schema.versions v where v.address = v_address and v.id = p_id;
    end if;
end $$;

-- Whether a gift wrap is addressed to `p_key`; its terms are 64 bits of a hash, which another key may share. In canonical bytes these
-- can only be the beginning of a tag: within a string quotes are escaped, and behind one there is never a `p`.
create function $schema.is_to(p_json bytea, p_key bytea) returns boolean language sql stable parallel safe as $$
    select position(convert_to('["p","' || encode(p_key, 'hex') || '"', 'UTF8') in p_json) > 0
$$;

-- The events as everybody but `vanish_step` sees them: one of somebody who vanished that waits to be erased is hidden, and has no
-- bytes. Whether `vanishing` has anybody at all is looked up once a statement, so that it costs next to nothing while it has not.
--
-- A scan takes what is hidden for candidates that do not match: to look for others in their place might take as long as an erasure.
-- `hidden` is for what a subquery with a limit brought; as a condition on this view it would be planned anew for every part.
create view $schema.shown as
    select e.created_at, e.id, e.pubkey, e.kind, e.stream, e.seq, e.expires_at, state.hidden,
        case when not state.hidden then e.json end json
    from $schema.events e cross join lateral (
        select exists (select 1 from $schema.vanishing) and (
            e.kind <> 62 and exists (select 1 from $schema.vanishing v where v.pubkey = e.pubkey and v.until >= e.created_at)
            or e.kind = 1059 and exists (select 1 from $schema.vanishing v
                where v.term = any (e.terms) and v.until >= e.created_at and $schema.is_to(e.json, v.pubkey))) hidden
    ) state;

-- Erases up to `p_max` of the events that wait for it because `p_pubkey` vanished, and makes graves of them and of up to as many that
-- were gone before. Where they were, and how much of `p_max` it took. The caller holds the lock of removals.
create function $schema.vanish_step(p_pubkey bytea, p_max int, out o_streams int[], out o_seqs bigint[], out o_work int)
language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    v_until bigint;
    v_term bigint;
    v_wraps boolean;
    v_oldest bigint;
    v_gone int;
begin
    select v.until, v.term, v.wraps into v_until, v_term, v_wraps from $schema.vanishing v where v.pubkey = p_pubkey;
    with wraps as materialized (
        select t.created_at, t.id from $schema.tags t cross join lateral (
                select 1 from $schema.events e
                where e.created_at = t.created_at and e.id = t.id and $schema.is_to(e.json, p_pubkey) limit 1) theirs
            where v_wraps and t.term = v_term and t.created_at <= v_until and t.kind = 1059
            order by t.created_at desc, t.id limit p_max
    ), doomed as materialized (
        (select e.created_at, e.id from $schema.events e
            where e.pubkey = p_pubkey and e.created_at <= v_until and e.kind <> 62
            order by e.created_at desc, e.id limit p_max)
        union select w.created_at, w.id from wraps w
        order by created_at desc, id limit p_max
    ), taken as (
        select d.created_at, r.o_stream, r.o_seq
        from doomed d cross join lateral $schema.take_out(d.created_at, d.id) r where r.o_seq is not null
    )
    select array_agg(t.o_stream), array_agg(t.o_seq), min(t.created_at),
            (select count(*) = p_max from wraps) or exists (select created_at, id from wraps except select created_at, id from doomed)
        into o_streams, o_seqs, v_oldest, v_wraps from taken t;
    with theirs as (
        delete from $schema.gone g
        where g.ctid = any (array(select few.ctid from $schema.gone few where few.pubkey = p_pubkey limit p_max))
        returning g.stream, g.seq
    ), dug as (
        insert into $schema.graves
            select * from theirs union select * from unnest(o_streams, o_seqs) on conflict do nothing
    )
    select count(*) into v_gone from theirs;
    o_work := greatest(coalesce(array_length(o_seqs, 1), 0), v_gone);
    if o_work < p_max then
        delete from $schema.vanishing v where v.pubkey = p_pubkey;
    else
        -- Nothing newer is left, and the next step need not pass by what this one erased.
        update $schema.vanishing v set until = coalesce(v_oldest, -1), wraps = v_wraps where v.pubkey = p_pubkey;
    end if;
end $$;

-- One commit: decides every write as if those before it had been committed, stores what is accepted, and says what came of each.
-- Outcomes: 0 accepted, 1 duplicate, 2 superseded, 3 deleted, 4 vanished.
--
-- `p_token` names the commit: the same again changes nothing and answers the same. A stream that is not the caller's any more, or not
-- where the caller left it, is `TP001`. Numbers in `p_…_of` are those of the writes, from 1 on and ascending.
--
-- Locks, always in this order: `tags` (see `parts`), removals against everything else (an event must not slip in beside its deletion),
-- addresses, rows by (created_at, id).
--
-- An event that another process stores at the same moment is `unique_violation`: the same call again sees it.
--
-- Who vanished comes before duplicates: what is hidden is not there any more.
--
-- Generic plans: every statement has one index to go by, and planning anew would cost more than all else.
create function $schema.commit(
    p_stream int, p_fence bigint, p_last_seq bigint, p_token bigint, p_at bigint, p_lease interval,
    p_ids bytea[], p_pubkeys bytea[], p_created bigint[], p_kinds int[], p_sources smallint[], p_actions smallint[],
    p_groups bytea[], p_expires bigint[], p_addresses bytea[], p_jsons bytea[], p_lone boolean[],
    p_owner_of int[], p_owners bytea[],
    p_term_of int[], p_terms bigint[],
    p_target_of int[], p_targets bytea[], p_target_addresses bytea[], p_wrap_term bigint[],
    p_removes boolean, p_replaces boolean,
    p_act_actions smallint[], p_act_sources smallint[], p_act_ids bytea[], p_act_kinds int[], p_act_actors bytea[],
    out o_outcomes smallint[], out o_removers bigint[], out o_removed_streams int[], out o_removed_seqs bigint[]
) language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    v_token bigint;
    v_fence bigint;
    v_count int := coalesce(array_length(p_ids, 1), 0);
    v_seq bigint := p_last_seq;
    v_events bigint := 0;
    v_from int := 1;
    v_to int;
    v_some smallint[];
    v_accepted int;
    v_outcome smallint;
    v_removed record;
    v_address bytea;
    v_version record;
    -- So many events go at once because somebody vanished, as the others wait for it; the rest is hidden and goes by `vanish`.
    v_room int := 1000;
    v_step record;
    v_streams int[];
    v_seqs bigint[];
    v_by bigint;
    v_terms bigint[];
    v_owners bytea[];
    v_targets bytea[];
    v_target_addresses bytea[];
    -- What comes with the writes from `v_from` to `v_to`.
    v_term_from int;
    v_term_to int := 0;
    v_owner_from int;
    v_owner_to int := 0;
    v_target_from int;
    v_target_to int := 0;
begin
    lock table only $schema.tags in row exclusive mode;
    select s.token, s.outcomes, s.fence into v_token, o_outcomes, v_fence from $schema.streams s where s.stream = p_stream;
    if v_token = p_token then
        select array_agg(r.seq), array_agg(r.rs), array_agg(r.rq) into o_removers, o_removed_streams, o_removed_seqs
        from (select l.seq, u.rs, u.rq from $schema.log l, unnest(l.removed_streams, l.removed_seqs) u(rs, rq)
              where l.stream = p_stream and l.seq > p_last_seq order by l.seq, u.rs, u.rq) r;
        return;
    end if;
    -- The end of this function decides. Here it is known before places are written that are another's by now.
    if v_fence is distinct from p_fence then
        raise exception 'stream % is not this process''s any more', p_stream using errcode = 'TP001';
    end if;
    o_outcomes := '{}';
    -- What removes works alone; what only adds works side by side.
    if p_removes then
        perform pg_advisory_xact_lock(hashtext('$schema'), 1);
    else
        perform pg_advisory_xact_lock_shared(hashtext('$schema'), 1);
    end if;
    if p_replaces then
        -- Of 1024 locks, in their order: the server has room for some thousands, for all pods together.
        perform pg_advisory_xact_lock(hashtext('$schema') # 1, h)
            from (select distinct hashtext(encode(a, 'hex')) & 1023 h from unnest(p_addresses) a
                where a is not null order by 1) locks;
    end if;

    while v_from <= v_count loop
        v_to := v_from;
        while not p_lone[v_from] and v_to < v_count and not p_lone[v_to + 1] loop
            v_to := v_to + 1;
        end loop;
        -- It comes in the order of the writes: looking through all of it for each write would be quadratic in the batch.
        v_term_from := v_term_to + 1;
        v_term_to := width_bucket(v_to, p_term_of);
        v_owner_from := v_owner_to + 1;
        v_owner_to := width_bucket(v_to, p_owner_of);
        v_target_from := v_target_to + 1;
        v_target_to := width_bucket(v_to, p_target_of);
        if not p_lone[v_from] then
            -- A run of events that only add: decided and stored together.
            -- Subqueries with a limit are looked up row by row; `exists` might be answered by reading a whole table once.
            with decided as materialized (
                select w.i, (case
                    when w.kind <> 62 and (select 1 from $schema.vanished v
                        where v.pubkey = w.pubkey and v.until >= w.created_at limit 1) = 1 then 4
                    when o.vanished then 4
                    when (select 1 from $schema.events e where e.created_at = w.created_at and e.id = w.id limit 1) = 1 then 1
                    when w.kind not in (5, 62) and (select 1 from $schema.deleted_ids d
                        where d.id = w.id and d.deleter = w.pubkey limit 1) = 1 then 3
                    when o.deleted then 3
                    else 0 end)::smallint outcome
                from (select i, p_ids[i] id, p_pubkeys[i] pubkey, p_created[i] created_at, p_kinds[i] kind
                      from generate_series(v_from, v_to) i) w
                left join (
                    select own.i,
                        bool_or((select 1 from $schema.vanished v
                            where v.pubkey = own.k and v.until >= p_created[own.i] limit 1) = 1) vanished,
                        bool_or((select 1 from $schema.deleted_ids d
                            where d.id = p_ids[own.i] and d.deleter = own.k limit 1) = 1) deleted
                    from unnest(p_owner_of[v_owner_from:v_owner_to], p_owners[v_owner_from:v_owner_to]) own(i, k)
                    group by own.i
                ) o on o.i = w.i
            ), fresh as materialized (
                select d.i, v_seq + row_number() over (order by d.i) seq from decided d where d.outcome = 0
            ), stored as (
                insert into $schema.events (created_at, id, pubkey, kind, stream, seq, expires_at, terms, json)
                select p_created[f.i], p_ids[f.i], p_pubkeys[f.i], p_kinds[f.i], p_stream, f.seq, p_expires[f.i],
                    t.terms, p_jsons[f.i]
                from fresh f left join (
                    select of, array_agg(term) terms
                    from unnest(p_term_of[v_term_from:v_term_to], p_terms[v_term_from:v_term_to]) t(of, term)
                    group by of
                ) t on t.of = f.i
                order by 1 desc, 2
            ), tagged as (
                insert into $schema.tags (term, created_at, id, kind)
                select t.term, p_created[f.i], p_ids[f.i], p_kinds[f.i]
                from unnest(p_term_of[v_term_from:v_term_to], p_terms[v_term_from:v_term_to]) t(of, term)
                join fresh f on f.i = t.of
            ), logged as (
                insert into $schema.log (stream, seq, committed_at, record, action, source, event_id, kind, pubkey, group_id,
                    created_at)
                select p_stream, f.seq, p_at, 1, p_actions[f.i], p_sources[f.i], p_ids[f.i], p_kinds[f.i], p_pubkeys[f.i],
                    p_groups[f.i], p_created[f.i]
                from fresh f order by f.seq
            )
            select array_agg(d.outcome order by d.i), count(*) filter (where d.outcome = 0) into v_some, v_accepted from decided d;
            o_outcomes := o_outcomes || v_some;
            v_seq := v_seq + v_accepted;
            v_events := v_events + v_accepted;
            v_from := v_to + 1;
            continue;
        end if;

        -- An event that takes something's place or removes something.
        v_address := p_addresses[v_from];
        v_owners := array_prepend(p_pubkeys[v_from], p_owners[v_owner_from:v_owner_to]);
        v_streams := null;
        v_seqs := null;
        v_outcome := (case
            when p_kinds[v_from] <> 62 and exists (select 1 from $schema.vanished v
                where v.pubkey = any (v_owners) and v.until >= p_created[v_from]) then 4
            when exists (select 1 from $schema.events e where e.created_at = p_created[v_from] and e.id = p_ids[v_from]) then 1
            when p_kinds[v_from] not in (5, 62) and exists (select 1 from $schema.deleted_ids d
                where d.id = p_ids[v_from] and d.deleter = any (v_owners)) then 3
            when v_address is not null and exists (select 1 from $schema.deleted_addresses d
                where d.address = v_address and d.until >= p_created[v_from]) then 3
            else 0 end)::smallint;
        if v_outcome = 0 and v_address is not null then
            select v.*, exists (select 1 from $schema.vanished x
                    where x.pubkey = p_pubkeys[v_from] and x.until >= v.created_at) hidden
                into v_version from $schema.versions v where v.address = v_address;
            if v_version.hidden then
                delete from $schema.versions v where v.address = v_address;
            elsif found then
                -- One that is over supersedes nothing, whether upkeep has come to it or not.
                if (v_version.created_at > p_created[v_from]
                        or v_version.created_at = p_created[v_from] and v_version.id < p_ids[v_from])
                    and not exists (select 1 from $schema.events e where e.created_at = v_version.created_at
                        and e.id = v_version.id and e.expires_at <= least(p_at / 1000, floor(extract(epoch from now()))::bigint)) then
                    v_outcome := 2;
                else
                    select * into v_removed from $schema.take_out(v_version.created_at, v_version.id);
                    v_streams := array[v_removed.o_stream];
                    v_seqs := array[v_removed.o_seq];
                end if;
            end if;
        end if;
        o_outcomes := o_outcomes || v_outcome;
        if v_outcome <> 0 then
            v_from := v_from + 1;
            continue;
        end if;
        if p_actions[v_from] = 3 then
            v_targets := p_targets[v_target_from:v_target_to];
            v_target_addresses := p_target_addresses[v_target_from:v_target_to];
            insert into $schema.deleted_ids
                select distinct t.id, p_pubkeys[v_from] from unnest(v_targets) t(id)
                where t.id is not null on conflict do nothing;
            insert into $schema.deleted_addresses
                select distinct t.a, p_created[v_from] from unnest(v_target_addresses) t(a)
                where t.a is not null
                on conflict (address) do update set until = greatest(deleted_addresses.until, excluded.until);
            select array_agg(r.o_stream), array_agg(r.o_seq) into v_streams, v_seqs
            from (
                select e.created_at, e.id
                from $schema.log l cross join lateral (
                    select e.* from $schema.shown e where e.created_at = l.created_at and e.id = l.event_id limit 1) e
                where l.event_id = any (v_targets) and l.record = 1 and e.kind not in (5, 62) and not e.hidden
                    and (e.pubkey = p_pubkeys[v_from] or e.kind = 1059 and $schema.is_to(e.json, p_pubkeys[v_from]))
                union
                select v.created_at, v.id
                from $schema.versions v
                where v.address = any (v_target_addresses) and v.created_at <= p_created[v_from]
                    and not exists (select 1 from $schema.vanished x
                        where x.pubkey = p_pubkeys[v_from] and x.until >= v.created_at)
            ) doomed cross join lateral $schema.take_out(doomed.created_at, doomed.id) r where r.o_seq is not null;
        elsif p_actions[v_from] = 6 then
            insert into $schema.vanished values (p_pubkeys[v_from], p_created[v_from])
                on conflict (pubkey) do update set until = greatest(vanished.until, excluded.until);
            insert into $schema.vanishing values (p_pubkeys[v_from], p_created[v_from], p_wrap_term[v_from])
                on conflict (pubkey) do update set until = greatest(vanishing.until, excluded.until), wraps = true;
            if v_room > 0 then
                select * into v_step from $schema.vanish_step(p_pubkeys[v_from], v_room);
                v_streams := v_step.o_streams;
                v_seqs := v_step.o_seqs;
                v_room := v_room - v_step.o_work;
            end if;
        end if;
        select array_agg(u.s order by u.s, u.q), array_agg(u.q order by u.s, u.q) into v_streams, v_seqs
            from unnest(v_streams, v_seqs) u(s, q);
        v_seq := v_seq + 1;
        v_events := v_events + 1 - coalesce(array_length(v_seqs, 1), 0);
        v_terms := case when v_term_to >= v_term_from then p_terms[v_term_from:v_term_to] end;
        insert into $schema.events (created_at, id, pubkey, kind, stream, seq, expires_at, address, terms, json)
            values (p_created[v_from], p_ids[v_from], p_pubkeys[v_from], p_kinds[v_from], p_stream, v_seq, p_expires[v_from],
                v_address, v_terms, p_jsons[v_from]);
        insert into $schema.tags (term, created_at, id, kind)
            select t.term, p_created[v_from], p_ids[v_from], p_kinds[v_from] from unnest(v_terms) t(term);
        if v_address is not null then
            insert into $schema.versions values (v_address, p_created[v_from], p_ids[v_from], p_stream, v_seq);
        end if;
        insert into $schema.log (stream, seq, committed_at, record, action, source, event_id, kind, pubkey, group_id, created_at,
                removed_streams, removed_seqs)
            values (p_stream, v_seq, p_at, 1, case when p_actions[v_from] = 1 and v_seqs is not null then 2 else p_actions[v_from] end,
                p_sources[v_from], p_ids[v_from], p_kinds[v_from], p_pubkeys[v_from], p_groups[v_from], p_created[v_from],
                v_streams, v_seqs);
        if v_seqs is not null then
            v_by := v_seq;
            o_removers := o_removers || array_fill(v_by, array[array_length(v_seqs, 1)]);
            o_removed_streams := o_removed_streams || v_streams;
            o_removed_seqs := o_removed_seqs || v_seqs;
        end if;
        v_from := v_from + 1;
    end loop;

    if array_length(p_act_actions, 1) > 0 then
        insert into $schema.log (stream, seq, committed_at, record, action, source, event_id, kind, pubkey)
            select p_stream, v_seq + a.n, p_at, 3, a.action, a.source, a.id, a.kind, a.actor
            from unnest(p_act_actions, p_act_sources, p_act_ids, p_act_kinds, p_act_actors) with ordinality
                a(action, source, id, kind, actor, n);
        v_seq := v_seq + array_length(p_act_actions, 1);
    end if;

    update $schema.streams s set last_seq = v_seq, events = s.events + v_events, token = p_token, outcomes = o_outcomes,
            lease_until = clock_timestamp() + p_lease
        where s.stream = p_stream and s.fence = p_fence and s.last_seq = p_last_seq;
    if not found then
        raise exception 'stream % is not this process''s any more', p_stream using errcode = 'TP001';
    end if;
end $$;

-- Removes events that expired by `p_now` and by the clock here, at most `p_max`, in an entry of their own: a pod whose clock is ahead must
-- not erase for all what has not. Which.
create function $schema.expire(p_stream int, p_fence bigint, p_last_seq bigint, p_now bigint, p_max int,
    out o_removed_streams int[], out o_removed_seqs bigint[]
) language plpgsql as $$
begin
    lock table only $schema.tags in row exclusive mode;
    perform pg_advisory_xact_lock(hashtext('$schema'), 1);
    select array_agg(r.o_stream order by r.o_stream, r.o_seq), array_agg(r.o_seq order by r.o_stream, r.o_seq)
        into o_removed_streams, o_removed_seqs
    from (select e.created_at, e.id, e.hidden from $schema.shown e
            where e.expires_at <= least(p_now, floor(extract(epoch from now()))::bigint) order by e.expires_at limit p_max) due
        cross join lateral $schema.take_out(due.created_at, due.id) r where not due.hidden and r.o_seq is not null;
    if o_removed_seqs is null then
        return;
    end if;
    insert into $schema.log (stream, seq, committed_at, record, action, source, removed_streams, removed_seqs)
        values (p_stream, p_last_seq + 1, p_now * 1000, 2, 5, 0, o_removed_streams, o_removed_seqs);
    update $schema.streams s set last_seq = p_last_seq + 1, events = s.events - array_length(o_removed_seqs, 1)
        where s.stream = p_stream and s.fence = p_fence and s.last_seq = p_last_seq;
    if not found then
        raise exception 'stream % is not this process''s any more', p_stream using errcode = 'TP001';
    end if;
end $$;

-- One step of erasing what is hidden; whether there may be more. One pod does it at a time, and the others leave it to that one.
create function $schema.vanish(p_max int) returns boolean language plpgsql as $$
declare
    v_step record;
begin
    if not pg_try_advisory_xact_lock(hashtext('$schema'), 3) then
        return false;
    end if;
    lock table only $schema.tags in row exclusive mode;
    perform pg_advisory_xact_lock(hashtext('$schema'), 1);
    select s.* into v_step from (select v.pubkey from $schema.vanishing v order by v.pubkey limit 1) next
        cross join lateral $schema.vanish_step(next.pubkey, p_max) s;
    -- Only the sum counts, so it may be any stream, and nobody's fence is asked for.
    update $schema.streams s set events = s.events - coalesce(array_length(v_step.o_seqs, 1), 0)
        where s.stream = (select min(stream) from $schema.streams);
    return exists (select 1 from $schema.vanishing);
end $$;
