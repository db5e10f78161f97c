//! Says in the log whether something keeps the system's clock right, once for each time that it changes.

use super::kernel;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// The kernel itself takes hours to lose its faith in a client that is gone.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

pub(super) async fn run() {
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_synchronized = None;
    loop {
        looks.tick().await;
        let Some(discipline) = kernel::discipline() else {
            tracing::debug!("the system does not say whether its clock is synchronized");
            return;
        };
        match (was_synchronized, discipline.synchronized) {
            (None | Some(true), false) => tracing::warn!(
                "the system's clock is not synchronized; run an NTP client such as chrony beside the server, or give it \
                 --ntp"
            ),
            (Some(false), true) => tracing::info!(error = ?discipline.error, "the system's clock is synchronized"),
            _ => {}
        }
        was_synchronized = Some(discipline.synchronized);
    }
}
