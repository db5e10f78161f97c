//! The boundary to redb: a panic in it becomes an error.
//!
//! redb asserts what holds in every file that it wrote. Its check at open finds a file that somebody else has changed
//! since, but pages that change later are read as they are, and an assertion may be what notices. The server must end
//! with a reason even then.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `work` returns, or what it panicked with. Nothing that `work` has changed may be used after a panic but to drop
/// it, which may panic as well.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| message(&*payload))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
