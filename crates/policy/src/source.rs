//! Where an event came from, for the audit log.

/// Who handed an event to this relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Source {
    /// A client's connection.
    Client = 1,
    /// A bulk import by the operator.
    Import = 2,
    /// Another relay.
    Sync = 3,
    /// The relay itself.
    Relay = 4,
}

impl Source {
    /// As stored and as in audit leaves.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The inverse.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Client, Self::Import, Self::Sync, Self::Relay].into_iter().find(|source| source.code() == code)
    }
}
