-- Who may commit to which stream.
--
-- A stream is a pod's while its lease lasts, and each owner has a higher fence than the one before. A commit names its fence, so what
-- counts is the row and never a clock: a lease that ran out only lets somebody else take the stream.

-- Gives `p_owner` a stream that is nobody's, or a new one.
create function $schema.take_stream(p_owner text, p_lease interval, out o_stream int, out o_fence bigint, out o_last_seq bigint)
language plpgsql as $$
begin
    select s.stream into o_stream from $schema.streams s where s.lease_until < clock_timestamp()
        order by s.stream limit 1 for update skip locked;
    if not found then
        perform pg_advisory_xact_lock(hashtext('$schema'), 2);
        select coalesce(max(s.stream) + 1, 0) into o_stream from $schema.streams s;
        insert into $schema.streams (stream, fence, lease_until) values (o_stream, 0, clock_timestamp());
    end if;
    update $schema.streams s set fence = s.fence + 1, owner = p_owner, lease_until = clock_timestamp() + p_lease
        where s.stream = o_stream returning s.fence, s.last_seq into o_fence, o_last_seq;
end $$;

-- Seals streams whose owner is not heard of: whatever it still sends is refused. Those that were sealed.
create function $schema.seal_streams() returns setof int language sql as $$
    update $schema.streams set fence = fence + 1, owner = null where owner is not null and lease_until < clock_timestamp()
    returning stream
$$;
