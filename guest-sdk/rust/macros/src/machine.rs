//! The whole block.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::parse::Parser as _;
use syn::spanned::Spanned as _;
use syn::{Error, Ident, ImplItem, ItemImpl, Result};

use crate::command::{Command, call_tick, take_tick};
use crate::options::MachineOptions;

pub(crate) fn expand(options: TokenStream, block: TokenStream) -> Result<TokenStream> {
    let mut machine = MachineOptions::default();
    syn::meta::parser(|meta| machine.read(meta)).parse2(options)?;
    let mut block: ItemImpl = syn::parse2(block)?;
    if let Some((_, path, _)) = &block.trait_ {
        return Err(Error::new(path.span(), "`#[machine]` is for an impl block without a trait"));
    }
    if let Some(param) = block.generics.params.first() {
        return Err(Error::new(param.span(), "a machine is one type, without parameters"));
    }

    // With the span of the call site hygiene lets the user's `self` be ours.
    let this = Ident::new("self", Span::call_site());
    let (args, reply) = (format_ident!("__args"), format_ident!("__reply"));
    let mut commands: Vec<Command> = Vec::new();
    let mut tick = None;
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else { continue };
        if take_tick(method)? {
            if tick.replace(call_tick(method, &this)).is_some() {
                return Err(Error::new(method.sig.span(), "there is one tick"));
            }
            continue;
        }
        let command = Command::read(method)?;
        let same = |other: &Command| other.name.value().eq_ignore_ascii_case(&command.name.value());
        if commands.iter().any(same) {
            return Err(Error::new(command.name.span(), "a command of this name is there already"));
        }
        commands.push(command);
    }

    let ty = &block.self_ty;
    let name = machine.name.map_or_else(|| quote!(::core::env!("CARGO_PKG_NAME")), |name| quote!(#name));
    let version = machine.version.map_or_else(|| quote!(::core::env!("CARGO_PKG_VERSION")), |version| quote!(#version));
    let state_version = machine.state_version.map_or_else(|| quote!(1), |version| quote!(#version));
    let init = machine.init.map_or_else(|| quote!(<Self as ::core::default::Default>::default), |init| quote!(#init));
    let migrate = match machine.migrate {
        Some(migrate) => quote!(#migrate(version, state)),
        None => quote! {{
            let _ = state;
            ::core::result::Result::Err(::uhaha_guest::no_migration::<Self>(version))
        }},
    };
    let specs = commands.iter().map(Command::spec);
    let positions = 0..commands.len() as u32;
    let calls = commands.iter().map(|command| command.call(&this, &args, &reply));
    let ticks = tick.is_some();
    let tick = tick.unwrap_or_else(|| quote!(false));

    Ok(quote! {
        #block

        impl ::uhaha_guest::Machine for #ty {
            const NAME: &'static str = #name;
            const VERSION: &'static str = #version;
            const STATE_VERSION: u32 = #state_version;
            const COMMANDS: &'static [::uhaha_guest::CommandSpec] = &[#(#specs),*];
            const TICKS: bool = #ticks;

            fn init() -> Self {
                #init()
            }

            #[inline]
            fn handle(
                &mut #this,
                command: u32,
                mut #args: ::uhaha_guest::Args<'_>,
                #reply: &mut ::uhaha_guest::ReplyWriter,
            ) -> ::core::result::Result<(), ::uhaha_guest::Error> {
                match command {
                    #(#positions => { #calls })*
                    _ => ::core::result::Result::Err(::uhaha_guest::no_such_command(command)),
                }
            }

            fn tick(&mut #this) -> bool {
                #tick
            }

            fn migrate(version: u32, state: &[u8]) -> ::core::result::Result<Self, ::uhaha_guest::Error> {
                #migrate
            }
        }

        // Natively only tests call a machine; without them it would be dead code.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> #ty = <#ty as ::uhaha_guest::Machine>::init;

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exports of a component")]
        const _: () = {
            struct Guest;

            ::std::thread_local! {
                static MACHINE: ::core::cell::RefCell<#ty> = ::core::cell::RefCell::new(::uhaha_guest::bindings::init());
            }

            impl ::uhaha_guest::bindings::Instance for Guest {
                type Machine = #ty;

                fn with<R>(call: impl ::core::ops::FnOnce(&mut #ty) -> R) -> R {
                    MACHINE.with_borrow_mut(call)
                }
            }

            ::uhaha_guest::bindings::export_machine!(Guest with_types_in ::uhaha_guest::bindings);
        };
    })
}
