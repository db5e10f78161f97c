//! The attribute of `uhaha-guest`, which documents it.

mod command;
mod machine;
mod options;

use proc_macro::TokenStream;

/// Makes the methods of an `impl` block the commands of a machine; see `uhaha_guest::machine`.
#[proc_macro_attribute]
pub fn machine(options: TokenStream, block: TokenStream) -> TokenStream {
    machine::expand(options.into(), block.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
