//! The options in `#[machine(...)]` and `#[command(...)]`.

use syn::meta::ParseNestedMeta;
use syn::{Expr, LitInt, LitStr, Path, Result};

/// `#[machine(...)]`
#[derive(Default)]
pub(crate) struct MachineOptions {
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<LitStr>,
    pub(crate) state_version: Option<LitInt>,
    pub(crate) init: Option<Path>,
    pub(crate) migrate: Option<Path>,
}

impl MachineOptions {
    pub(crate) fn read(&mut self, meta: ParseNestedMeta<'_>) -> Result<()> {
        match () {
            () if meta.path.is_ident("name") => {
                let name: LitStr = meta.value()?.parse()?;
                let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                if name.value().is_empty() || !name.value().chars().all(allowed) {
                    return Err(syn::Error::new(name.span(), "a name is letters, digits, `-`, `_` and `.`"));
                }
                self.name = Some(name);
            }
            () if meta.path.is_ident("version") => self.version = Some(meta.value()?.parse()?),
            () if meta.path.is_ident("state_version") => {
                let version: LitInt = meta.value()?.parse()?;
                if version.base10_parse::<u32>()? == 0 {
                    return Err(syn::Error::new(version.span(), "versions begin at 1"));
                }
                self.state_version = Some(version);
            }
            () if meta.path.is_ident("init") => self.init = Some(meta.value()?.parse()?),
            () if meta.path.is_ident("migrate") => self.migrate = Some(meta.value()?.parse()?),
            () => return Err(meta.error("expected `name`, `version`, `state_version`, `init` or `migrate`")),
        }
        Ok(())
    }
}

/// `#[command(...)]`
#[derive(Default)]
pub(crate) struct CommandOptions {
    pub(crate) name: Option<LitStr>,
    pub(crate) group: Option<LitStr>,
    pub(crate) arity: Option<Expr>,
}

impl CommandOptions {
    pub(crate) fn read(&mut self, meta: ParseNestedMeta<'_>) -> Result<()> {
        match () {
            () if meta.path.is_ident("name") => {
                let name: LitStr = meta.value()?.parse()?;
                if !(1..=64).contains(&name.value().len()) || !name.value().bytes().all(|byte| byte.is_ascii_graphic())
                {
                    let message = "a command's name is 1 to 64 bytes of printable ASCII without spaces";
                    return Err(syn::Error::new(name.span(), message));
                }
                self.name = Some(name);
            }
            () if meta.path.is_ident("group") => self.group = Some(meta.value()?.parse()?),
            () if meta.path.is_ident("arity") => self.arity = Some(meta.value()?.parse()?),
            () => return Err(meta.error("expected `name`, `group` or `arity`")),
        }
        Ok(())
    }
}
