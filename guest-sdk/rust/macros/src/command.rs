//! One method of the block: what it declares, and the call from bytes to it.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, Ident, ImplItemFn, Lifetime, Lit, LitStr, Meta, Pat, PatType, Result,
    ReturnType, Type, TypeReference,
};

use crate::options::CommandOptions;

pub(crate) struct Command {
    pub(crate) name: LitStr,
    options: CommandOptions,
    summary: String,
    method: Ident,
    writes: bool,
    params: Vec<Param>,
}

struct Param {
    name: String,
    /// The variable that holds it.
    variable: Ident,
    ty: Type,
    /// A `&[T]` is taken as a `Vec<T>`, since somebody must own it.
    by_reference: bool,
    key: bool,
    token: Option<LitStr>,
}

impl Command {
    /// Reads a method and takes our attributes off it.
    pub(crate) fn read(method: &mut ImplItemFn) -> Result<Self> {
        let mut options = CommandOptions::default();
        for attribute in take(&mut method.attrs, "command") {
            attribute.parse_nested_meta(|meta| options.read(meta))?;
        }
        let signature = &mut method.sig;
        if let Some(asyncness) = signature.asyncness {
            return Err(Error::new(asyncness.span(), "a command cannot be async: a machine waits for nothing"));
        }
        if let Some(param) = signature.generics.type_params().next() {
            return Err(Error::new(param.span(), "a command cannot be generic"));
        }
        let writes = match signature.receiver() {
            Some(receiver) if receiver.reference.is_some() => receiver.mutability.is_some(),
            _ => {
                let message = "a command takes `&self` (a read) or `&mut self` (a write); put other functions into \
                               another impl block";
                return Err(Error::new(signature.ident.span(), message));
            }
        };
        let mut params = Vec::new();
        for (i, input) in signature.inputs.iter_mut().enumerate() {
            if let FnArg::Typed(param) = input {
                params.push(Param::read(i, param)?);
            }
        }
        if let Some(param) = params.iter().skip_while(|param| param.token.is_none()).find(|param| param.token.is_none())
        {
            return Err(Error::new(param.ty.span(), "parameters with `#[token]` come last"));
        }
        let name = match &options.name {
            Some(name) => name.clone(),
            None => LitStr::new(&signature.ident.unraw().to_string().to_ascii_uppercase(), signature.ident.span()),
        };
        let summary = summary(&method.attrs);
        Ok(Command { name, options, summary, method: method.sig.ident.clone(), writes, params })
    }

    /// The `CommandSpec`.
    pub(crate) fn spec(&self) -> TokenStream {
        let Command { name, summary, .. } = self;
        let kind = if self.writes { quote!(Write) } else { quote!(Read) };
        let group = self.options.group.clone().unwrap_or_else(|| LitStr::new("", Span::call_site()));
        let arguments: Vec<_> = self.params.iter().map(Param::argument).collect();
        let arity = match &self.options.arity {
            Some(arity) => quote!(#arity),
            None => quote!(::uhaha_guest::arity(ARGUMENTS)),
        };
        quote! {{
            const ARGUMENTS: &[::uhaha_guest::Argument] = &[#(#arguments),*];
            const _: () = ::uhaha_guest::check(ARGUMENTS);
            ::uhaha_guest::CommandSpec {
                name: #name,
                kind: ::uhaha_guest::Kind::#kind,
                arity: #arity,
                summary: #summary,
                group: #group,
                arguments: ARGUMENTS,
            }
        }}
    }

    /// What runs it, with `self`, `args` and `reply` in scope.
    pub(crate) fn call(&self, this: &Ident, args: &Ident, reply: &Ident) -> TokenStream {
        let method = &self.method;
        let positional = self.params.iter().filter(|param| param.token.is_none()).map(|param| {
            let Param { variable, ty, .. } = param;
            quote!(let #variable: #ty = ::uhaha_guest::FromArgs::from_args(&mut #args)?;)
        });
        let end = self.end(args);
        let values = self.params.iter().map(|param| {
            let variable = &param.variable;
            if param.by_reference { quote!(&#variable) } else { quote!(#variable) }
        });
        quote! {
            #(#positional)*
            #end
            ::uhaha_guest::IntoReply::write_into(#this.#method(#(#values),*), #reply)
        }
    }

    /// What takes the options by word, if there are any, and refuses what is left.
    fn end(&self, args: &Ident) -> TokenStream {
        let options: Vec<_> = self.params.iter().filter_map(|param| Some((param, param.token.as_ref()?))).collect();
        if options.is_empty() {
            return quote!(#args.finish()?;);
        }
        let absent = options.iter().map(|(Param { variable, ty, .. }, _)| {
            let seen = seen(variable);
            quote! {
                let mut #variable: #ty = ::uhaha_guest::FromToken::absent();
                let mut #seen = false;
            }
        });
        let present = options.iter().map(|(Param { variable, .. }, token)| {
            let seen = seen(variable);
            quote! {
                if !#seen && #args.token(#token) {
                    #seen = true;
                    #variable = ::uhaha_guest::FromToken::present(&mut #args)?;
                } else
            }
        });
        quote! {
            #(#absent)*
            while !#args.is_empty() {
                #(#present)* {
                    return ::core::result::Result::Err(::uhaha_guest::Error::SYNTAX);
                }
            }
        }
    }
}

fn seen(variable: &Ident) -> Ident {
    format_ident!("{variable}_seen")
}

impl Param {
    fn read(position: usize, param: &mut PatType) -> Result<Self> {
        let key = !take(&mut param.attrs, "key").is_empty();
        let mut token = None;
        for attribute in take(&mut param.attrs, "token") {
            match &attribute.meta.require_name_value()?.value {
                Expr::Lit(ExprLit { lit: Lit::Str(word), .. }) => token = Some(word.clone()),
                other => return Err(Error::new(other.span(), "expected a word in quotes")),
            }
        }
        let Pat::Ident(pattern) = &*param.pat else {
            return Err(Error::new(param.pat.span(), "a command's parameter needs a name"));
        };
        let name = pattern.ident.unraw().to_string().trim_start_matches('_').to_owned();
        let mut ty = (*param.ty).clone();
        AnyLifetime.visit_type_mut(&mut ty);
        let element = list_element(&ty);
        let by_reference = element.is_some();
        if let Some(element) = element {
            ty = syn::parse_quote!(::std::vec::Vec<#element>);
        }
        // A name that no constant or other thing of the user's can have.
        let variable = format_ident!("__arg{position}");
        Ok(Param { name, variable, ty, by_reference, key, token })
    }

    /// The `Argument`.
    fn argument(&self) -> TokenStream {
        let Param { name, ty, .. } = self;
        let (of, token, optional, multiple, name) = match &self.token {
            Some(token) => {
                let of = quote!(<#ty as ::uhaha_guest::FromToken<'_>>);
                let name = quote!(if #of::HAS_VALUE { #name } else { "" });
                (of, token.value(), quote!(true), quote!(false), name)
            }
            None => {
                let of = quote!(<#ty as ::uhaha_guest::FromArgs<'_>>);
                (of.clone(), String::new(), quote!(#of::OPTIONAL), quote!(#of::MULTIPLE), quote!(#name))
            }
        };
        let argument_type = if self.key { quote!(::uhaha_guest::ArgumentType::Key) } else { quote!(#of::TYPE) };
        quote! {
            ::uhaha_guest::Argument {
                name: #name,
                argument_type: #argument_type,
                optional: #optional,
                multiple: #multiple,
                token: #token,
            }
        }
    }
}

/// Whether the method is the tick, whose attribute is taken off.
pub(crate) fn take_tick(method: &mut ImplItemFn) -> Result<bool> {
    if take(&mut method.attrs, "tick").is_empty() {
        return Ok(false);
    }
    let mutable = method.sig.receiver().is_some_and(|receiver| receiver.reference.is_some());
    if !mutable || method.sig.inputs.len() != 1 {
        return Err(Error::new(method.sig.span(), "a tick takes `&mut self` and nothing else"));
    }
    Ok(true)
}

/// What calls the tick and gives a `bool`.
pub(crate) fn call_tick(method: &ImplItemFn, this: &Ident) -> TokenStream {
    let name = &method.sig.ident;
    match &method.sig.output {
        ReturnType::Type(_, ty) if !matches!(&**ty, Type::Tuple(unit) if unit.elems.is_empty()) => {
            quote!(#this.#name())
        }
        _ => quote! {
            #this.#name();
            true
        },
    }
}

/// Takes the attributes of this name off.
fn take(attributes: &mut Vec<Attribute>, name: &str) -> Vec<Attribute> {
    let (taken, kept) = std::mem::take(attributes).into_iter().partition(|attribute| attribute.path().is_ident(name));
    *attributes = kept;
    taken
}

/// The `T` of a `&[T]` that is not a string of bytes.
fn list_element(ty: &Type) -> Option<Type> {
    let Type::Reference(TypeReference { mutability: None, elem, .. }) = ty else { return None };
    let Type::Slice(slice) = &**elem else { return None };
    let bytes = matches!(&*slice.elem, Type::Path(path) if path.path.is_ident("u8"));
    (!bytes).then(|| (*slice.elem).clone())
}

/// Makes the lifetimes of a signature ones that can be inferred in a body.
struct AnyLifetime;

impl VisitMut for AnyLifetime {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            *lifetime = Lifetime::new("'_", lifetime.span());
        }
        visit_mut::visit_lifetime_mut(self, lifetime);
    }
}

/// The first sentence of the documentation.
fn summary(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let Meta::NameValue(meta) = &attribute.meta else { continue };
        let Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) = &meta.value else { continue };
        let line = line.value();
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(line);
    }
    if let Some(end) = text.find(". ") {
        text.truncate(end + 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_first_sentence() {
        let method: ImplItemFn = syn::parse_quote! {
            /// Sets a key
            /// to a value. With `EX` it expires.
            ///
            /// More.
            fn set(&mut self) {}
        };
        assert_eq!(summary(&method.attrs), "Sets a key to a value.");
    }

    fn refused(mut method: ImplItemFn) -> String {
        Command::read(&mut method).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_cannot_be_a_command_is_refused() {
        assert!(
            refused(syn::parse_quote!(
                fn x() {}
            ))
            .contains("&mut self")
        );
        assert!(
            refused(syn::parse_quote!(
                fn x(self) {}
            ))
            .contains("&mut self")
        );
        assert!(
            refused(syn::parse_quote!(
                async fn x(&self) {}
            ))
            .contains("async")
        );
        assert!(
            refused(syn::parse_quote!(
                fn x<T>(&self, t: T) {}
            ))
            .contains("generic")
        );
        assert!(
            refused(syn::parse_quote!(
                fn x(&self, (a, b): (u64, u64)) {}
            ))
            .contains("name")
        );
        assert!(
            refused(syn::parse_quote!(
                fn x(&self, #[token = "A"] a: bool, b: u64) {}
            ))
            .contains("last")
        );
        assert!(
            refused(syn::parse_quote!(
                fn x(&self, #[token = 1] a: bool) {}
            ))
            .contains("quotes")
        );
        assert!(
            refused(syn::parse_quote!(
                #[command(name = "a b")]
                fn x(&self) {}
            ))
            .contains("printable")
        );
        assert!(
            refused(syn::parse_quote!(
                #[command(sort = 1)]
                fn x(&self) {}
            ))
            .contains("expected `name`")
        );
    }

    #[test]
    fn our_attributes_do_not_stay() {
        let mut method: ImplItemFn = syn::parse_quote! {
            #[command(name = "X.Y", group = "z", arity = -3)]
            #[must_use]
            fn x(&mut self, #[key] a: &str, #[token = "EX"] b: Option<u64>) {}
        };
        let command = Command::read(&mut method).expect("is a command");
        assert_eq!(command.name.value(), "X.Y");
        assert!(command.writes);
        assert_eq!(
            quote!(#method).to_string(),
            quote!(
                #[must_use]
                fn x(&mut self, a: &str, b: Option<u64>) {}
            )
            .to_string()
        );
    }
}
