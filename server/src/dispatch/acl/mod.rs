//! Who may call what: users with passwords and the commands that they may call.
//!
//! Without a file there is one user, `default`, who may call everything; `--auth` gives it a password. A file has users
//! of its own (`file` says how it is written). Rights are looked up by the number of a command's row in the table, so
//! that they cost no more than that on a command's way.

mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hash;

pub(super) use file::CATEGORIES;
pub use file::Error;
pub(super) use file::categories;
pub use hash::hash_password;

use super::table::{Row, Table};
use hash::Stored;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, oneshot};

pub(super) const DEFAULT: &str = "default";

/// Argon2 takes its time and memory by design; more at once would take those of commands.
const CHECKS_MAX: usize = 2;
/// Most checks that wait for their turn: who guesses passwords must not make others wait for minutes.
const CHECKS_WAITING_MAX: usize = 64;
/// Of the threads that check, so that they take no time that commands need.
#[cfg(target_os = "linux")]
const NICENESS_MOST: i32 = 19;

/// A handle; clones share the users in force.
#[derive(Clone, Debug)]
pub struct Users {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    users: Mutex<BTreeMap<String, Arc<User>>>,
    /// Rises with each change, so that sessions notice.
    generation: AtomicU64,
    checks: Arc<Semaphore>,
    checks_waiting: Semaphore,
}

/// Too many passwords are being checked; nothing is known of this one.
#[derive(Debug)]
pub(super) struct Busy;

/// One user, as the file or `--auth` says.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    enabled: bool,
    /// Any of them will do; none is needed if `open`.
    passwords: Vec<Stored>,
    /// No password is asked for.
    open: bool,
    rules: Vec<Rule>,
}

/// One word of the file about commands; later ones win.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Category(String),
    /// In lower case, a subcommand after a bar.
    Command(String),
}

/// What a user may call, by row of the table.
#[derive(Debug)]
pub(super) struct Rights {
    rows: Vec<bool>,
    /// The subcommands that may be called, `family|subcommand`.
    subcommands: BTreeSet<String>,
}

impl Default for Users {
    fn default() -> Users {
        let everybody = User::everything(DEFAULT, None);
        let users = BTreeMap::from([(everybody.name.clone(), Arc::new(everybody))]);
        let shared = Shared {
            users: Mutex::new(users),
            generation: AtomicU64::new(0),
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
            checks_waiting: Semaphore::new(CHECKS_WAITING_MAX),
        };
        Users { shared: Arc::new(shared) }
    }
}

impl Users {
    /// Takes the place of all before: the password of `default`, if there is one, and the text of a file.
    pub fn set(&self, password: Option<&str>, file: Option<&str>) -> Result<(), Error> {
        let mut users = file.map(file::parse).transpose()?.unwrap_or_default();
        // A file decides for itself; without one everybody is let in who knows the password, or none is asked for.
        if password.is_some() || file.is_none() {
            users.entry(DEFAULT.to_owned()).or_insert_with(|| User::everything(DEFAULT, password));
        }
        *self.lock() = users.into_iter().map(|(name, user)| (name, Arc::new(user))).collect();
        self.shared.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    pub(super) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// The user of a connection that has not said who it is.
    pub(super) fn stranger(&self) -> Option<Arc<User>> {
        self.find(DEFAULT).filter(|user| user.open)
    }

    /// A user that may be used.
    pub(super) fn find(&self, name: &str) -> Option<Arc<User>> {
        self.lock().get(name).filter(|user| user.enabled).cloned()
    }

    /// In the order of their names.
    pub(super) fn all(&self) -> Vec<Arc<User>> {
        self.lock().values().cloned().collect()
    }

    /// The user, if the password is right. It takes as long for a user that there is not.
    pub(super) async fn authenticate(&self, name: &[u8], password: &[u8]) -> Result<Option<Arc<User>>, Busy> {
        let user = std::str::from_utf8(name).ok().and_then(|name| self.find(name));
        if let Some(user) = user.as_ref().filter(|user| user.open) {
            return Ok(Some(Arc::clone(user)));
        }
        let slow = self.lock().values().flat_map(|user| &user.passwords).find(|stored| stored.is_slow()).cloned();
        let candidates = match &user {
            Some(user) => user.passwords.clone(),
            None => slow.into_iter().collect(),
        };
        let mut right = candidates.iter().fold(false, |right, stored| right | stored.matches_at_once(password));
        if !right && candidates.iter().any(Stored::is_slow) {
            right = self.check_slowly(candidates, password.to_vec()).await?;
        }
        Ok(user.filter(|_| right))
    }

    async fn check_slowly(&self, candidates: Vec<Stored>, password: Vec<u8>) -> Result<bool, Busy> {
        let waiting = self.shared.checks_waiting.try_acquire().map_err(|_| Busy)?;
        // It is never closed, so this waits for its turn and no more.
        let turn = Arc::clone(&self.shared.checks).acquire_owned().await;
        drop(waiting);
        let (answer, checked) = oneshot::channel();
        let check = move || {
            // On Linux this concerns the calling thread alone. If it fails, others wait a little longer.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::setpriority_process(None, NICENESS_MOST);
            // Who asked may have gone.
            let _ = answer.send(candidates.iter().fold(false, |right, stored| right | stored.matches(&password)));
            drop(turn);
        };
        // A thread of its own, for one that was made to give way cannot be used for anything else.
        std::thread::Builder::new().name("password".to_owned()).spawn(check).map_err(|_| Busy)?;
        checked.await.map_err(|_| Busy)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<User>>> {
        self.shared.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl User {
    fn everything(name: &str, password: Option<&str>) -> User {
        User {
            name: name.to_owned(),
            enabled: true,
            passwords: password.map(Stored::of_text).into_iter().collect(),
            open: password.is_none(),
            rules: vec![Rule { allow: true, what: What::Category("all".to_owned()) }],
        }
    }

    /// What the rules mean for these commands.
    pub(super) fn rights(&self, table: &Table) -> Rights {
        let mut rights = Rights { rows: vec![false; table.rows().len()], subcommands: BTreeSet::new() };
        for Rule { allow, what } in &self.rules {
            for (at, row) in table.rows().iter().enumerate() {
                if what.is(row) {
                    rights.rows[at] = *allow;
                }
                // The name of a family means all of it; a category may hold some of its subcommands and others not.
                let whole = *what == What::Command(row.name.clone());
                for subcommand in row.subcommands.iter().filter(|subcommand| whole || what.is(subcommand)) {
                    match allow {
                        true => rights.subcommands.insert(subcommand.name.clone()),
                        false => rights.subcommands.remove(&subcommand.name),
                    };
                }
            }
        }
        rights
    }

    /// One line, as `ACL LIST` and the file have it. Hashes are not shown.
    pub(super) fn line(&self) -> String {
        let mut line = format!("user {} {}", self.name, if self.enabled { "on" } else { "off" });
        line.push_str(if self.open { " nopass" } else { "" });
        for _ in &self.passwords {
            line.push_str(" #(hidden)");
        }
        for Rule { allow, what } in &self.rules {
            let sign = if *allow { '+' } else { '-' };
            match what {
                What::Category(category) => line.push_str(&format!(" {sign}@{category}")),
                What::Command(command) => line.push_str(&format!(" {sign}{command}")),
            }
        }
        line
    }
}

impl What {
    fn is(&self, row: &Row) -> bool {
        match self {
            What::Category(category) => categories(row).any(|of| of == *category),
            What::Command(command) => row.name == *command,
        }
    }
}

impl Rights {
    pub(super) fn may(&self, at: u32) -> bool {
        self.rows.get(at as usize).copied().unwrap_or(false)
    }

    /// `family|subcommand`.
    pub(super) fn may_sub(&self, subcommand: &str) -> bool {
        self.subcommands.contains(subcommand)
    }
}
