//! Sentinels: whoever they call the master, now.
//!
//! Owns: what they said last, which both ends of a pod share. A server that they gave up may go on answering whoever is connected to
//! it, and what is said there does not reach the pods that came later. Must not know: what the connections are for.

use std::sync::Arc;

use parking_lot::Mutex;
use redis::{Client, Connection, ErrorKind, FromRedisValue, RedisConnectionInfo, RedisError, RedisResult, Value};

use crate::server::{CONNECT_TIMEOUT, Trust};

/// Host and port of a server.
pub(crate) type Address = (String, u16);

/// See the module. Clones share what they know.
#[derive(Clone)]
pub(crate) struct Sentinels {
    pub(crate) clients: Vec<Client>,
    /// What they call it.
    pub(crate) master: String,
    /// The server's.
    pub(crate) login: RedisConnectionInfo,
    pub(crate) trust: Trust,
    pub(crate) named: Arc<Mutex<Option<Address>>>,
}

impl Sentinels {
    /// To the master.
    pub(crate) fn connect(&self) -> RedisResult<(Connection, Address)> {
        let (connection, address) = self.first(|sentinel| {
            let address = self.ask(sentinel)?;
            Ok((self.connect_to(&address)?, address))
        })?;
        *self.named.lock() = Some(address.clone());
        Ok((connection, address))
    }

    /// Finds out whether another is the master now.
    pub(crate) fn look(&self) -> RedisResult<()> {
        let known = self.named.lock().clone();
        let address = self.first(|sentinel| {
            let address = self.ask(sentinel)?;
            // Nothing is left for what a Sentinel says that is behind the others: a server that is gone, or no master.
            if known.as_ref() != Some(&address) {
                self.connect_to(&address)?;
            }
            Ok(address)
        })?;
        *self.named.lock() = Some(address);
        Ok(())
    }

    /// Whether another server was named since.
    pub(crate) fn have_left(&self, address: &Address) -> bool {
        self.named.lock().as_ref().is_some_and(|named| named != address)
    }

    /// Of the first that can say: one may be away, or not know yet what the others decided.
    fn first<T>(&self, mut try_with: impl FnMut(&Client) -> RedisResult<T>) -> RedisResult<T> {
        let mut failure = None;
        for sentinel in &self.clients {
            match try_with(sentinel) {
                Ok(found) => return Ok(found),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| no_master("there are no sentinels")))
    }

    fn ask(&self, sentinel: &Client) -> RedisResult<Address> {
        let mut asked = sentinel.get_connection_with_timeout(CONNECT_TIMEOUT)?;
        asked.set_read_timeout(Some(CONNECT_TIMEOUT))?;
        let named: Option<Address> =
            redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master).query(&mut asked)?;
        named.ok_or_else(|| no_master("the sentinel does not know this master"))
    }

    fn connect_to(&self, (host, port): &Address) -> RedisResult<Connection> {
        let client = self.trust.client(self.trust.addr(host.clone(), *port), self.login.clone())?;
        let mut connection = client.get_connection_with_timeout(CONNECT_TIMEOUT)?;
        connection.set_read_timeout(Some(CONNECT_TIMEOUT))?;
        if is_master(&mut connection)? { Ok(connection) } else { Err(no_master("the sentinel names a replica")) }
    }
}

fn no_master(why: &'static str) -> RedisError {
    RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, why))
}

/// By the greeting, which every user may ask for; `ROLE` needs a permission.
fn is_master(connection: &mut Connection) -> RedisResult<bool> {
    let greeting: Vec<Value> = redis::cmd("HELLO").arg(2).query(connection)?;
    let (pairs, _) = greeting.as_chunks::<2>();
    let role = pairs.iter().find(|[name, _]| String::from_redis_value_ref(name).is_ok_and(|name| name == "role"));
    Ok(role.is_some_and(|[_, role]| String::from_redis_value_ref(role).is_ok_and(|role| role == "master")))
}

#[cfg(test)]
mod tests {
    use towpath_servers::{Redis, Sentinels as Watching};

    use crate::Server;

    #[test]
    fn a_master_is_not_left_for_a_server_that_is_gone() {
        let master = Redis::guarded(None).unwrap();
        let _replica = master.replica(None).unwrap();
        let watching = Watching::watch(&master, None).unwrap();
        let url = format!("redis+sentinel://{}@{}/{}", Redis::USER, watching.hosts(), Watching::MASTER);
        let server = Server::parse(&url, Some(Redis::PASSWORD)).unwrap();
        let sentinels = server.sentinels().unwrap();
        let (_, address) = sentinels.connect().unwrap();

        let mut gone = Redis::guarded(None).unwrap();
        gone.crash().unwrap();
        watching.point_first_to(&gone).unwrap();
        sentinels.look().unwrap();
        assert!(!sentinels.have_left(&address), "the first Sentinel names a server that is gone");

        gone.restart().unwrap();
        sentinels.look().unwrap();
        assert!(sentinels.have_left(&address), "it names one that answers");
    }
}
