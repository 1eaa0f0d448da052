//! The attribute for livepatch's patch points, and the hash of its interfaces. Use it through the crate `livepatch`,
//! which documents it.

mod source_hash;

use proc_macro::TokenStream;
use proc_macro2::{Span, TokenStream as Tokens, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::parse::Parser;
use syn::{AttrStyle, Attribute, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, LitStr, Meta, NamedArg, Pat, Path};
use syn::{Safety, Signature, Token, TypeFnPtr};
use syn::{parse_macro_input, parse_quote, punctuated::Punctuated, spanned::Spanned};

/// Makes a function patchable. See `livepatch::patchable`.
#[proc_macro_attribute]
pub fn patchable(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    Options::parse(arguments.into())
        .and_then(|options| expand(&options, function))
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Expands to a hash of the calling crate's sources. See `livepatch::interface`.
#[proc_macro]
pub fn source_hash(also: TokenStream) -> TokenStream {
    source_hash::expand(also.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Derives nothing: in place of serde's derive, where `livepatch` is built without it.
#[doc(hidden)]
#[proc_macro_derive(NoSerialize, attributes(serde))]
pub fn no_serialize(_: TokenStream) -> TokenStream {
    TokenStream::new()
}

/// Derives nothing: see [`macro@NoSerialize`].
#[doc(hidden)]
#[proc_macro_derive(NoDeserialize, attributes(serde))]
pub fn no_deserialize(_: TokenStream) -> TokenStream {
    TokenStream::new()
}

/// The arguments of the attribute.
struct Options {
    name: Option<LitStr>,
    krate: Path,
}

impl Options {
    fn parse(arguments: Tokens) -> syn::Result<Self> {
        let mut options = Self {
            name: None,
            krate: parse_quote!(::livepatch),
        };
        for meta in Punctuated::<Meta, Token![,]>::parse_terminated.parse2(arguments)? {
            let Meta::NameValue(pair) = &meta else {
                return Err(syn::Error::new(
                    meta.span(),
                    "expected `name = \"…\"` or `crate = \"…\"`",
                ));
            };
            let Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            }) = &pair.value
            else {
                return Err(syn::Error::new(pair.value.span(), "expected a string"));
            };
            if pair.path.is_ident("name") {
                if text.value().is_empty() {
                    return Err(syn::Error::new(text.span(), "a patch point needs a name"));
                }
                options.name = Some(text.clone());
            } else if pair.path.is_ident("crate") {
                options.krate = text.parse()?;
            } else {
                return Err(syn::Error::new(pair.path.span(), "expected `name` or `crate`"));
            }
        }
        Ok(options)
    }
}

fn expand(options: &Options, function: ItemFn) -> syn::Result<Tokens> {
    refuse(&function)?;
    // Left out: modifiers that no function outside an `impl` can have.
    let ItemFn {
        attrs, vis, sig, block, ..
    } = function;
    let (attrs, lints) = split(attrs);
    let krate = &options.krate;
    let name = &sig.ident;
    let original = format_ident!("__original_{}", name);
    let mut inner = sig.clone();
    inner.ident = original.clone();

    // The wrapper's own argument names: patterns are only for the original.
    let mut outer = sig.clone();
    let mut arguments: Vec<Ident> = Vec::new();
    for (index, argument) in outer.inputs.iter_mut().enumerate() {
        if let FnArg::Typed(typed) = argument {
            let ident = match &*typed.pat {
                Pat::Ident(pattern) if pattern.subpat.is_none() => pattern.ident.clone(),
                // Hygienic, so that it cannot shadow an argument of that name.
                _ => Ident::new(&format!("argument_{index}"), Span::mixed_site()),
            };
            typed.pat = parse_quote!(#ident);
            typed.attrs.clear();
            arguments.push(ident);
        }
    }

    let unsafety = match sig.safety {
        Safety::Unsafe(token) => Some(token),
        Safety::Safe(_) | Safety::Default => None,
    };
    let pointer = TypeFnPtr {
        attrs: Vec::new(),
        lifetimes: (!sig.generics.params.is_empty()).then(|| {
            let lifetimes = sig.generics.lifetimes().map(|one| &one.lifetime);
            parse_quote!(for<#(#lifetimes),*>)
        }),
        unsafety,
        abi: sig.abi.clone(),
        fn_token: sig.fn_token,
        paren_token: sig.paren_token,
        inputs: sig.inputs.iter().filter_map(bare_argument).collect(),
        variadic: None,
        output: sig.output.clone(),
    };
    let known_as: Tokens = match &options.name {
        Some(name) => quote!(#name),
        None => quote!(::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name))),
    };
    // Hygienic too.
    let guard = Ident::new("call", Span::mixed_site());
    let token = Ident::new("outside", Span::mixed_site());
    // SAFETY (of the generated code): the guard outlives the call; the caller of an unsafe function upholds its contract.
    let function = quote!(unsafe { #guard.function() });
    let call = match unsafety {
        Some(_) => quote!(unsafe { (#function)(#(#arguments),*) }),
        None => quote!((#function)(#(#arguments),*)),
    };
    // Inlined into the caller, unless the function has its own attribute: so a call inside a unit is one call, not two.
    let inline = (!attrs.iter().any(|one| one.path().is_ident("inline"))).then(|| quote!(#[inline]));
    // A call that begins a unit is long, so it is a function of its own; and so is its slow path, for which the fast path
    // then need not preserve anything.
    let [outside, seldom] = ["outside", "seldom"].map(|what| format_ident!("__{}_{}", what, name));
    let [on_outside, on_seldom] = [&outside, &seldom].map(|function| {
        let mut sig = outer.clone();
        sig.ident = function.clone();
        sig.inputs.push(parse_quote!(#token: #krate::Outside));
        sig
    });
    let [call_outside, call_seldom] = [&outside, &seldom].map(|function| match unsafety {
        Some(_) => quote!(unsafe { #function(#(#arguments,)* #token) }),
        None => quote!(#function(#(#arguments,)* #token)),
    });
    let hidden = quote! {
        #(#lints)*
        #[doc(hidden)]
        #[inline(never)]
        #[allow(
            clippy::too_many_arguments, clippy::type_complexity, clippy::missing_safety_doc,
            clippy::undocumented_unsafe_blocks, unused_unsafe,
            reason = "as at the function itself, whose contract it shares"
        )]
    };
    let about = format!("The patch point of `{name}`: name it to replace the function.");
    Ok(quote! {
        #(#attrs)*
        #inline
        #(#lints)*
        #[allow(clippy::undocumented_unsafe_blocks, reason = "the guard outlives the call; the caller upholds the function's contract")]
        #[allow(unused_unsafe, reason = "the call of an unsafe function has two blocks")]
        #vis #outer {
            match unsafe { <#name as #krate::Patchable>::point().enter_inside() } {
                ::core::result::Result::Ok(#guard) => #call,
                ::core::result::Result::Err(#token) => #call_outside,
            }
        }

        #hidden
        #on_outside {
            match <#name as #krate::Patchable>::point().begin(#token) {
                ::core::result::Result::Ok(#guard) => #call,
                ::core::result::Result::Err(#token) => #call_seldom,
            }
        }

        #hidden
        #[cold]
        #on_seldom {
            let #guard = <#name as #krate::Patchable>::point().begin_seldom(#token);
            #call
        }

        #hidden
        #inner #block

        #[doc = #about]
        #[allow(non_camel_case_types, reason = "named like the function")]
        #[derive(Debug)]
        #vis enum #name {}

        #[allow(clippy::type_complexity, reason = "it is the function's own")]
        impl #krate::Patchable for #name {
            type Fn = #pointer;

            #[inline]
            #[allow(clippy::undocumented_unsafe_blocks, reason = "comments do not outlive expansion")]
            fn point() -> &'static #krate::PatchPoint<Self::Fn> {
                // SAFETY: `Fn` is a function pointer type, and the original is cast to it first.
                static POINT: #krate::PatchPoint<#pointer> =
                    unsafe { #krate::PatchPoint::new(#known_as, #original as #pointer as *const ()) };
                &POINT
            }
        }
    })
}

/// Splits the attributes into those for the wrapper and those of lints, which also apply to the original. `expect`
/// becomes `allow`, as a lint occurs in at most one of the two.
fn split(attrs: Vec<Attribute>) -> (Vec<Attribute>, Vec<Attribute>) {
    attrs
        .into_iter()
        .map(|mut attribute| {
            attribute.style = AttrStyle::Outer; // Inner attributes of the body belong to the function as well.
            if let Meta::List(list) = &mut attribute.meta
                && list.path.is_ident("expect")
            {
                list.path = parse_quote!(allow);
            }
            attribute
        })
        .partition(|attribute| {
            let lint = ["allow", "warn", "deny", "forbid"];
            !lint.iter().any(|level| attribute.path().is_ident(level))
        })
}

/// Returns an argument as in a function pointer's type.
fn bare_argument(argument: &FnArg) -> Option<NamedArg> {
    match argument {
        FnArg::Receiver(_) => None, // Refused before.
        FnArg::Typed(typed) => Some(NamedArg {
            attrs: Vec::new(),
            name: None,
            ty: (*typed.ty).clone(),
        }),
    }
}

/// Refuses functions that have no function pointer, or more than one.
fn refuse(function: &ItemFn) -> syn::Result<()> {
    let sig = &function.sig;
    let error = |span: proc_macro2::Span, what: &str| Err(syn::Error::new(span, what));
    if let Some(token) = &sig.asyncness {
        return error(
            token.span(),
            "an async function cannot be patchable: make what it calls patchable",
        );
    }
    if let Some(token) = &sig.constness {
        return error(
            token.span(),
            "a const function cannot be patchable: it has no address at compile time",
        );
    }
    if let Some(token) = &sig.variadic {
        return error(token.span(), "a variadic function cannot be patchable");
    }
    if let Some(receiver) = sig.receiver() {
        return error(
            receiver.span(),
            "a method cannot be patchable: mark a free function that it calls",
        );
    }
    if let Some(parameter) = sig
        .generics
        .params
        .iter()
        .find(|one| !matches!(one, syn::GenericParam::Lifetime(_)))
    {
        return error(
            parameter.span(),
            "a generic function cannot be patchable: it is many functions, mark one that it calls",
        );
    }
    if let Some(lifetime) = sig.generics.lifetimes().find(|one| !one.bounds.is_empty()) {
        return error(
            lifetime.span(),
            "a patchable function cannot have bounds on lifetimes: no function pointer has",
        );
    }
    if let Some(clause) = &sig.generics.where_clause {
        return error(clause.span(), "a patchable function cannot have a where clause");
    }
    refuse_types(sig)
}

/// Refuses types that no function pointer can have.
fn refuse_types(sig: &Signature) -> syn::Result<()> {
    let error = |span: Span, what: &str| Err(syn::Error::new(span, what));
    for argument in &sig.inputs {
        let FnArg::Typed(typed) = argument else { continue };
        if let Some(span) = find(typed.ty.to_token_stream(), "impl") {
            return error(
                span,
                "a generic function cannot be patchable: it is many functions, mark one that it calls",
            );
        }
        if let Some(attribute) = typed.attrs.iter().find(|one| !one.path().is_ident("allow")) {
            return error(
                attribute.span(),
                "an argument of a patchable function can have no attribute but `allow`",
            );
        }
    }
    if let Some(span) = find(sig.output.to_token_stream(), "impl") {
        return error(span, "a patchable function must name the type that it returns");
    }
    if let Some(span) = find(sig.to_token_stream(), "Self") {
        return error(
            span,
            "an associated function cannot be patchable: mark a free function that it calls",
        );
    }
    let inputs = sig.inputs.to_token_stream();
    let early = sig.generics.lifetimes().find(|one| {
        let name = one.lifetime.ident.to_string();
        find(inputs.clone(), &name).is_none()
    });
    if let Some(lifetime) = early {
        return error(
            lifetime.span(),
            "a lifetime of a patchable function must be of one of its arguments: else no function pointer has it",
        );
    }
    Ok(())
}

/// Returns the position of an identifier among these tokens.
fn find(tokens: Tokens, name: &str) -> Option<Span> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Group(group) => find(group.stream(), name),
        TokenTree::Ident(ident) if ident == name => Some(ident.span()),
        _ => None,
    })
}
