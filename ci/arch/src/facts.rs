//! The facts of one file that the layers need: the paths that it names, the modules, names and methods that it defines, and the
//! methods that it calls. Nothing is resolved here, so the facts of a file do not depend on other files.

use std::collections::BTreeSet;

use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ImplItem, Item, Meta, TraitItem, UseTree};

/// A path as written in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Whether it begins with `::`.
    pub(crate) absolute: bool,
    pub(crate) segments: Vec<String>,
}

impl Path {
    fn of(path: &syn::Path) -> Self {
        Self {
            absolute: path.leading_colon.is_some(),
            segments: path.segments.iter().map(|segment| text_of(&segment.ident)).collect(),
        }
    }
}

/// A name that an import binds.
pub(crate) struct Alias {
    pub(crate) name: String,
    pub(crate) path: Path,
}

/// The declaration of a module.
pub(crate) struct ChildModule {
    pub(crate) name: String,
    /// Whether it is compiled for tests only.
    pub(crate) test: bool,
}

/// The names that one module defines: the file's own module, or a module with its body in the file.
#[derive(Default)]
pub(crate) struct Scope {
    /// The path of the module, relative to the file's own module.
    pub(crate) inside: Vec<String>,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) globs: Vec<Path>,
    pub(crate) items: BTreeSet<String>,
    /// The identifiers in macro calls that stand for items: some may be names of items.
    pub(crate) in_macros: BTreeSet<String>,
    pub(crate) children: Vec<ChildModule>,
}

/// Where a path stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathKind {
    Code,
    Import,
    /// In an import that is visible outside the module.
    Export,
}

/// A path that the file names.
pub(crate) struct Name {
    pub(crate) scope: usize,
    pub(crate) path: Path,
    pub(crate) kind: PathKind,
    pub(crate) line: usize,
    pub(crate) test: bool,
}

/// The owner of a method.
#[derive(Clone)]
pub(crate) enum MethodOwner {
    Type { path: Path, inherent: bool },
    Trait,
}

pub(crate) struct Method {
    pub(crate) scope: usize,
    pub(crate) owner: MethodOwner,
    pub(crate) name: String,
    pub(crate) test: bool,
}

/// The expression on which a method is called.
pub(crate) enum Receiver {
    /// `self`, in an implementation of this type.
    SelfType(Path),
    /// A variable or a field of this name.
    Named(String),
    Other,
}

pub(crate) struct Call {
    pub(crate) scope: usize,
    pub(crate) receiver: Receiver,
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) test: bool,
}

/// All facts of a file.
pub(crate) struct Facts {
    /// The first scope is the file's own module.
    pub(crate) scopes: Vec<Scope>,
    pub(crate) names: Vec<Name>,
    pub(crate) methods: Vec<Method>,
    pub(crate) calls: Vec<Call>,
}

/// Reads a file. An error is a line and a message.
pub(crate) fn read(text: &str) -> Result<Facts, (usize, String)> {
    let file = syn::parse_file(text).map_err(|error| (error.span().start().line, error.to_string()))?;
    let mut reader = Reader {
        facts: Facts {
            scopes: vec![Scope::default()],
            names: Vec::new(),
            methods: Vec::new(),
            calls: Vec::new(),
        },
        scope: 0,
        test: false,
        owner: None,
    };
    reader.visit_file(&file);
    Ok(reader.facts)
}

struct Reader {
    facts: Facts,
    scope: usize,
    /// Whether the code being visited is compiled for tests only.
    test: bool,
    /// The implementation or trait being visited.
    owner: Option<MethodOwner>,
}

impl Reader {
    fn scope(&mut self) -> &mut Scope {
        &mut self.facts.scopes[self.scope]
    }

    fn line(span: Span) -> usize {
        span.start().line
    }

    fn name(&mut self, mut path: Path, kind: PathKind, span: Span) {
        if path.segments[0] == "Self" {
            let Some(MethodOwner::Type { path: of, .. }) = &self.owner else {
                return;
            };
            let rest = path.segments.split_off(1);
            path = of.clone();
            path.segments.extend(rest);
        }
        // A single name is defined in this module, or imported.
        if path.segments.len() > 1 || path.absolute || kind != PathKind::Code {
            self.facts.names.push(Name {
                scope: self.scope,
                path,
                kind,
                line: Self::line(span),
                test: self.test,
            });
        }
    }

    fn method(&mut self, name: String) {
        if let Some(owner) = self.owner.clone() {
            self.facts.methods.push(Method {
                scope: self.scope,
                owner,
                name,
                test: self.test,
            });
        }
    }

    fn call(&mut self, on: Option<String>, name: String, span: Span) {
        let receiver = match (on, &self.owner) {
            (Some(on), Some(MethodOwner::Type { path, .. })) if on == "self" => Receiver::SelfType(path.clone()),
            (Some(on), _) if on != "self" => Receiver::Named(on),
            _ => Receiver::Other,
        };
        self.facts.calls.push(Call {
            scope: self.scope,
            receiver,
            name,
            line: Self::line(span),
            test: self.test,
        });
    }

    /// Runs `visit` as inside an item with these attributes.
    fn visit_with(&mut self, attributes: &[Attribute], visit: impl FnOnce(&mut Self)) {
        let test = self.test;
        self.test |= attributes.iter().any(is_for_tests);
        visit(self);
        self.test = test;
    }

    fn import(&mut self, tree: &UseTree, prefix: &Path, kind: PathKind) {
        let joined = |ident: &syn::Ident| {
            let mut path = prefix.clone();
            // `a::{self}` is `a`.
            if ident != "self" || prefix.segments.is_empty() {
                path.segments.push(text_of(ident));
            }
            path
        };
        let (path, name, span) = match tree {
            UseTree::Path(tree) => return self.import(&tree.tree, &joined(&tree.ident), kind),
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.import(tree, prefix, kind)),
            UseTree::Glob(glob) => {
                let mut path = prefix.clone();
                self.scope().globs.push(path.clone());
                path.segments.push("*".to_owned());
                return self.name(path, kind, glob.star_token.spans[0]);
            }
            UseTree::Name(tree) => {
                let path = joined(&tree.ident);
                let name = path.segments.last().cloned().unwrap_or_default();
                (path, name, tree.ident.span())
            }
            UseTree::Rename(tree) => (joined(&tree.ident), text_of(&tree.rename), tree.ident.span()),
        };
        if name != "_" {
            self.scope().aliases.push(Alias {
                name,
                path: path.clone(),
            });
        }
        self.name(path, kind, span);
    }

    /// Records the paths, imports and calls in the tokens of a macro call, which are not parsed.
    fn scan_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let punct = |at: Option<usize>, is: char| matches!(at.and_then(|at| tokens.get(at)), Some(TokenTree::Punct(punct)) if punct.as_char() == is);
        let ident = |at: usize| match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => Some(ident),
            _ => None,
        };
        let colons = |at: Option<usize>| {
            matches!(at.and_then(|at| tokens.get(at)), Some(TokenTree::Punct(first)) if first.as_char() == ':' && first.spacing() == Spacing::Joint)
                && punct(at.map(|at| at + 1), ':')
        };
        let mut at = 0;
        while at < tokens.len() {
            let start = at;
            at += 1;
            let first = match &tokens[start] {
                TokenTree::Group(group) => {
                    self.scan_tokens(group.stream());
                    continue;
                }
                TokenTree::Ident(first) => first,
                _ => continue,
            };
            if first == "use" {
                let length = tokens[start..]
                    .iter()
                    .position(|token| matches!(token, TokenTree::Punct(end) if end.as_char() == ';'));
                let import = length.map(|length| tokens[start..=start + length].iter().cloned().collect());
                if let Some(Ok(import)) = import.map(syn::parse2::<syn::ItemUse>) {
                    self.visit_item_use(&import);
                    at = start + length.unwrap_or(0);
                    continue;
                }
            }
            if let ("fn", Some(name)) = (first.to_string().as_str(), ident(at)) {
                self.method(text_of(name));
                at += 1;
                continue;
            }
            let mut path = Path {
                absolute: false,
                segments: vec![text_of(first)],
            };
            while let (true, Some(next)) = (colons(Some(at)), ident(at + 2)) {
                path.segments.push(text_of(next));
                at += 3;
            }
            let called = matches!(tokens.get(at), Some(TokenTree::Group(group)) if group.delimiter() == proc_macro2::Delimiter::Parenthesis)
                || colons(Some(at)) && punct(Some(at + 2), '<');
            if punct(start.checked_sub(1), '.') {
                // `..name` is the end of a range.
                if path.segments.len() == 1 && called && !punct(start.checked_sub(2), '.') {
                    let on = start.checked_sub(2).and_then(ident).map(text_of);
                    // `self` after a dot is not the receiver `self`.
                    let on = on.filter(|on| on != "self" || !punct(start.checked_sub(3), '.'));
                    self.call(on, path.segments.remove(0), first.span());
                }
            } else if colons(start.checked_sub(2)) {
                let before = start.checked_sub(3);
                if punct(before, '>') {
                    // `Core::<R>::name`
                    if called && path.segments.len() == 1 {
                        self.call(None, path.segments.remove(0), first.span());
                    }
                } else if before.and_then(ident).is_none() {
                    path.absolute = true;
                    self.name(path, PathKind::Code, first.span());
                }
            } else if !punct(start.checked_sub(1), '$') || first == "crate" {
                self.name(path, PathKind::Code, first.span());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name): (&[Attribute], _) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::ExternCrate(item) => (&item.attrs, None),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::ForeignMod(item) => (&item.attrs, None),
            Item::Impl(item) => (&item.attrs, None),
            Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            Item::Mod(item) => (&item.attrs, None),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::TraitAlias(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Union(item) => (&item.attrs, Some(&item.ident)),
            Item::Use(item) => (&item.attrs, None),
            Item::Verbatim(tokens) => return self.scan_tokens(tokens.clone()),
            _ => (&[], None),
        };
        if let Some(name) = name {
            self.scope().items.insert(text_of(name));
        }
        if let Item::Macro(item) = item {
            collect_identifiers(item.mac.tokens.clone(), &mut self.scope().in_macros);
        }
        self.visit_with(attributes, |reader| visit::visit_item(reader, item));
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Verbatim(tokens) => return self.scan_tokens(tokens.clone()),
            _ => &[],
        };
        self.visit_with(attributes, |reader| visit::visit_impl_item(reader, item));
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        let attributes: &[Attribute] = match item {
            TraitItem::Const(item) => &item.attrs,
            TraitItem::Fn(item) => &item.attrs,
            TraitItem::Macro(item) => &item.attrs,
            TraitItem::Type(item) => &item.attrs,
            TraitItem::Verbatim(tokens) => return self.scan_tokens(tokens.clone()),
            _ => &[],
        };
        self.visit_with(attributes, |reader| visit::visit_trait_item(reader, item));
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        self.visit_with(&local.attrs, |reader| visit::visit_local(reader, local));
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        item.attrs.iter().for_each(|attribute| self.visit_attribute(attribute));
        let (name, test) = (text_of(&item.ident), self.test);
        self.scope().children.push(ChildModule {
            name: name.clone(),
            test,
        });
        let Some((_, items)) = &item.content else { return };
        let inside = self.scope().inside.iter().cloned().chain([name]).collect();
        let (outer, owner) = (self.scope, self.owner.take());
        self.scope = self.facts.scopes.len();
        self.facts.scopes.push(Scope {
            inside,
            ..Scope::default()
        });
        items.iter().for_each(|item| self.visit_item(item));
        (self.scope, self.owner) = (outer, owner);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let kind = if matches!(item.vis, syn::Visibility::Inherited) {
            PathKind::Import
        } else {
            PathKind::Export
        };
        let root = Path {
            absolute: item.leading_colon.is_some(),
            segments: Vec::new(),
        };
        self.import(&item.tree, &root, kind);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let path = Path {
            absolute: item.ident != "self",
            segments: vec![text_of(&item.ident)],
        };
        let name = item.rename.as_ref().map_or(&item.ident, |(_, name)| name);
        self.scope().aliases.push(Alias {
            name: text_of(name),
            path: path.clone(),
        });
        self.name(path, PathKind::Import, item.ident.span());
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let mut of = &*item.self_ty;
        while let syn::Type::Reference(syn::TypeReference { elem, .. })
        | syn::Type::Paren(syn::TypeParen { elem, .. }) = of
        {
            of = elem;
        }
        let path = match of {
            syn::Type::Path(of) if of.qself.is_none() => Path::of(&of.path),
            // A slice, a tuple, a pointer: not a type of this crate.
            _ => Path {
                absolute: false,
                segments: vec![String::new()],
            },
        };
        let outer = self.owner.replace(MethodOwner::Type {
            path,
            inherent: item.trait_.is_none(),
        });
        visit::visit_item_impl(self, item);
        self.owner = outer;
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let outer = self.owner.replace(MethodOwner::Trait);
        visit::visit_item_trait(self, item);
        self.owner = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.method(text_of(&item.sig.ident));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.method(text_of(&item.sig.ident));
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        match expr {
            Expr::Verbatim(tokens) => self.scan_tokens(tokens.clone()),
            Expr::Block(block) => self.visit_with(&block.attrs, |reader| visit::visit_expr(reader, expr)),
            _ => visit::visit_expr(self, expr),
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let on = match &*call.receiver {
            Expr::Path(on) => on.path.get_ident().map(text_of),
            Expr::Field(syn::ExprField {
                member: syn::Member::Named(on),
                ..
            }) => Some(text_of(on)),
            _ => None,
        };
        self.call(on, text_of(&call.method), call.method.span());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            self.name(Path::of(path), PathKind::Code, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, of: &'ast syn::Macro) {
        self.visit_path(&of.path);
        self.scan_tokens(of.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        const WITHOUT_PATHS: [&str; 9] = [
            "allow",
            "cfg",
            "deny",
            "deprecated",
            "doc",
            "expect",
            "forbid",
            "must_use",
            "warn",
        ];
        if let Meta::List(list) = &attribute.meta
            && !WITHOUT_PATHS.iter().any(|name| list.path.is_ident(name))
        {
            self.scan_tokens(list.tokens.clone());
        }
    }

    // `pub(in path)` names only an enclosing module.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

fn collect_identifiers(tokens: TokenStream, identifiers: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect_identifiers(group.stream(), identifiers),
            TokenTree::Ident(ident) => drop(identifiers.insert(ident.to_string())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn text_of(ident: &syn::Ident) -> String {
    let word = ident.to_string();
    word.strip_prefix("r#").map(str::to_owned).unwrap_or(word)
}

/// Returns whether an attribute is a `cfg` that holds in tests only: `test`, or `all` with `test` in it.
fn is_for_tests(attribute: &Attribute) -> bool {
    fn needs_test(condition: &Meta) -> bool {
        match condition {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("all") => list
                .parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated)
                .is_ok_and(|conditions| conditions.iter().any(needs_test)),
            _ => false,
        }
    }
    attribute.path().is_ident("cfg")
        && attribute
            .parse_args::<Meta>()
            .is_ok_and(|condition| needs_test(&condition))
}
