//! The tables' versions: embedded, applied one transaction each, never backwards.

use postgres::Client;
use towpath_store::Error;

use crate::connect::unavailable;
use crate::parts;

/// In order; the first is version 1.
const MIGRATIONS: &[&str] = &[include_str!("sql/0001_store.sql"), include_str!("sql/0002_streams.sql")];

/// What the tables' first version also decides.
const META: &str = "
    create schema if not exists $schema;
    create table if not exists $schema.meta (
        one       boolean primary key default true check (one),
        version   int not null,
        cluster   uuid not null default gen_random_uuid(),
        relay_key bytea
    );";

/// The text of a statement for `schema`.
pub(crate) fn in_schema(sql: &str, schema: &str) -> String {
    sql.replace("$schema", schema)
}

/// A name that needs no quotes, so that none can be missing.
pub(crate) fn check_name(schema: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let fits =
        !schema.is_empty() && schema.len() <= 48 && schema.bytes().all(plain) && !schema.as_bytes()[0].is_ascii_digit();
    if fits { Ok(()) } else { Err(Error::Unavailable(format!("{schema:?} is no plain lowercase schema name"))) }
}

/// Brings the tables up to this program's version; returns the versions before and after. Pods that start together take turns.
pub(crate) fn migrate(client: &mut Client, schema: &str, now: u64) -> Result<(i32, i32), Error> {
    check_name(schema)?;
    let target = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    let found = version(client, schema)?;
    if found == target {
        return Ok((found, target));
    }
    let failed = |error| unavailable("migrate the database", &error);
    let mut first = found;
    loop {
        let mut step = client.transaction().map_err(failed)?;
        // Held to the end of the step; nobody but another pod that migrates asks for it.
        step.execute("select pg_advisory_xact_lock(hashtext($1), 0)", &[&schema]).map_err(failed)?;
        step.batch_execute(&in_schema(META, schema)).map_err(failed)?;
        let sql = in_schema("select version from $schema.meta", schema);
        let row = step.query_opt(&sql, &[]).map_err(failed)?;
        let at: i32 = row.map_or(0, |row| row.get(0));
        if at > target {
            return Err(newer(at, target));
        }
        let Some(migration) = usize::try_from(at).ok().and_then(|at| MIGRATIONS.get(at)) else {
            return Ok((first, at));
        };
        step.batch_execute(&in_schema(migration, schema)).map_err(failed)?;
        if at == 0 {
            first = 0;
            step.batch_execute(&in_schema("insert into $schema.meta (version) values (0)", schema)).map_err(failed)?;
            for part in parts::first(now) {
                let sql = in_schema("select $schema.add_part($1, $2, $3)", schema);
                step.execute(&sql, &[&part.name, &part.since, &part.until]).map_err(failed)?;
            }
        }
        step.execute(&in_schema("update $schema.meta set version = $1", schema), &[&(at + 1)]).map_err(failed)?;
        step.commit().map_err(failed)?;
        tracing::info!(version = at + 1, "the database's tables were brought up to date");
    }
}

/// Refuses tables that are not of this program's version: who only looks makes none, and brings none up to date.
pub(crate) fn check(client: &mut Client, schema: &str) -> Result<(), Error> {
    check_name(schema)?;
    let target = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    let what = match version(client, schema)? {
        found if found == target => return Ok(()),
        0 => format!("the database has no tables in the schema {schema}: name another, or make them"),
        found => format!("the database's tables have version {found} and this program needs {target}: change them"),
    };
    Err(Error::Unavailable(format!("{what} by `towpath migrate`")))
}

/// 0 if there are no tables.
fn version(client: &mut Client, schema: &str) -> Result<i32, Error> {
    let failed = |error| unavailable("look at the database's version", &error);
    let there = client.query_one("select to_regclass($1) is not null", &[&format!("{schema}.meta")]).map_err(failed)?;
    if !there.get::<_, bool>(0) {
        return Ok(0);
    }
    let row = client.query_opt(&in_schema("select version from $schema.meta", schema), &[]).map_err(failed)?;
    let found: i32 = row.map_or(0, |row| row.get(0));
    let target = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    if found > target { Err(newer(found, target)) } else { Ok(found) }
}

fn newer(found: i32, target: i32) -> Error {
    Error::Unavailable(format!(
        "the database's tables have version {found} and this program knows versions up to {target}: run the newer program again, \
         or restore a copy from before it"
    ))
}
