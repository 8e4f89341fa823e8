//! Rewriting log files that hold what is no longer needed.
use towpath_store::Error;

use crate::Shared;

impl Shared {
    pub(crate) fn compact_one(&self, _now: u64) -> Result<bool, Error> {
        Ok(false)
    }
    pub(crate) fn finish_compactions(&self) -> Result<(), Error> {
        Ok(())
    }
}
