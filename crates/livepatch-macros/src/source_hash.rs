//! The hash of the sources of the crate that is being compiled.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use proc_macro2::{Span, TokenStream as Tokens};
use quote::quote;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{LitStr, Token};

/// Returns the hash of the crate's manifest, its `src` and the files in `also`, as a string literal. The compiler is told
/// of each file, so that a change recompiles the crate.
pub(crate) fn expand(also: Tokens) -> syn::Result<Tokens> {
    let also = Punctuated::<LitStr, Token![,]>::parse_terminated.parse2(also)?;
    let error = |span, message: String| syn::Error::new(span, message);
    let home = env::var_os("CARGO_MANIFEST_DIR")
        .ok_or_else(|| error(Span::call_site(), "an interface is built by cargo".to_owned()))?;
    let home = Path::new(&home);
    let mut files = BTreeMap::new();
    let own = ["Cargo.toml", "src"].map(|name| (name.to_owned(), Span::call_site()));
    for (name, span) in own
        .into_iter()
        .chain(also.iter().map(|name| (name.value(), name.span())))
    {
        collect(&home.join(&name), &name, &mut files).map_err(|why| error(span, format!("`{name}`: {why}")))?;
    }
    let hash = hash(&files);
    let mut paths = Vec::new();
    for (path, _) in files.values() {
        let Some(path) = path.to_str() else {
            return Err(error(Span::call_site(), format!("{} is not UTF-8", path.display())));
        };
        paths.push(path.to_owned());
    }
    Ok(quote!({
        #(const _: &[u8] = ::core::include_bytes!(#paths);)*
        #hash
    }))
}

/// Files by their names relative to the crate's directory.
type Files = BTreeMap<String, (PathBuf, Vec<u8>)>;

fn collect(path: &Path, name: &str, files: &mut Files) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        files.insert(name.to_owned(), (path.to_owned(), fs::read(path)?));
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        collect(&entry.path(), &name, files)?;
    }
    Ok(())
}

/// Returns a hash of 128 bits, which protects against accidents, not against malice. The standard hasher may change with
/// the compiler, but the compiler is compared first.
fn hash(files: &Files) -> String {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        for (name, (_, bytes)) in files {
            for part in [name.as_bytes(), bytes] {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
        }
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(0), half(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Files {
        let entry = |&(name, text): &(&str, &str)| (name.to_owned(), (PathBuf::new(), text.as_bytes().to_vec()));
        files.iter().map(entry).collect()
    }

    #[test]
    fn the_hash_is_of_names_and_contents_in_whatever_order() {
        let one = hash(&files(&[("src/a.rs", "fn a() {}"), ("src/b.rs", "")]));
        assert_eq!(one.len(), 32);
        assert_eq!(one, hash(&files(&[("src/b.rs", ""), ("src/a.rs", "fn a() {}")])));
        for other in [
            files(&[("src/a.rs", "fn a() {}")]),
            files(&[("src/a.rs", "fn a() { }"), ("src/b.rs", "")]),
            files(&[("src/a.rs", ""), ("src/b.rs", "fn a() {}")]),
            files(&[("src/a.rs", "fn a() {}"), ("src/c.rs", "")]),
        ] {
            assert_ne!(one, hash(&other));
        }
    }

    #[test]
    fn folders_are_read_to_their_depth_and_what_is_missing_is_named() {
        let tokens = expand(quote!("src/lib.rs")).unwrap().to_string();
        assert!(
            tokens.contains("source_hash.rs") && tokens.contains("Cargo.toml"),
            "{tokens}"
        );
        let error = expand(quote!("../nowhere")).unwrap_err().to_string();
        assert!(error.contains("../nowhere"), "{error}");
    }
}
