//! `#[derive(Record)]`: declares the collection of a record type from its struct, and writes the conversions
//! between the struct and a flat row. What it writes is what a person would have written.
//!
//! On the struct: `#[record(collection = "faqs", search(question, answer), index(position, -created_at),
//! unique(code))]`, with `installation` for a record of the installation. `-field` runs downward;
//! `index(code, covers(status, kind))` keeps further fields beside the key, for counting, and `index(covers(status))`
//! nothing else.
//! On a field: `#[record(folded)]` keeps the folded form of a text for searching and sorting,
//! `#[record(custom)]` marks the JSON of custom fields. The struct has `id` first and `meta: Meta`.

mod input;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{
    Data, DeriveInput, Error, Fields, Ident, LitStr, Result, Token, Type,
    ext::IdentExt as _,
    parenthesized,
    parse::{Parse, ParseStream},
    parse_macro_input,
    punctuated::Punctuated,
    token::Paren,
};

/// Declares the collection of a record type. See the crate's page.
#[proc_macro_derive(Record, attributes(record))]
pub fn derive_record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Reads a struct from a JSON object. See `crm_core::input`.
#[proc_macro_derive(Input, attributes(input))]
pub fn derive_input(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    input::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// How many fields every collection begins with.
const HEAD_FIELDS: usize = 5;

/// One name in `index(…)`, `unique(…)` or `search(…)`.
struct Name {
    name: String,
    descending: bool,
}

impl Parse for Name {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let descending = input.parse::<Option<Token![-]>>()?.is_some();
        Ok(Self { name: input.call(Ident::parse_any)?.to_string(), descending })
    }
}

/// What `#[record(…)]` says on the struct.
#[derive(Default)]
struct Declaration {
    collection: Option<LitStr>,
    installation: bool,
    search: Vec<Name>,
    indexes: Vec<Index>,
    unique: Vec<Vec<Name>>,
}

/// What `index(…)` says.
struct Index {
    fields: Vec<Name>,
    covers: Vec<Name>,
}

impl Parse for Index {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let content;
        parenthesized!(content in input);
        let mut index = Self { fields: Vec::new(), covers: Vec::new() };
        while !content.is_empty() {
            if content.peek(Ident) && content.peek2(Paren) {
                let word: Ident = content.parse()?;
                if word != "covers" {
                    return Err(Error::new(word.span(), "expected covers"));
                }
                index.covers = names(&content)?;
            } else {
                index.fields.push(content.parse()?);
            }
            if !content.is_empty() {
                content.parse::<Token![,]>()?;
            }
        }
        Ok(index)
    }
}

fn names(input: ParseStream<'_>) -> Result<Vec<Name>> {
    let content;
    parenthesized!(content in input);
    Ok(Punctuated::<Name, Token![,]>::parse_terminated(&content)?.into_iter().collect())
}

impl Declaration {
    fn read(input: &DeriveInput) -> Result<Self> {
        let mut declaration = Self::default();
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("record")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("collection") {
                    declaration.collection = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("installation") {
                    declaration.installation = true;
                } else if meta.path.is_ident("search") {
                    declaration.search = names(meta.input)?;
                } else if meta.path.is_ident("index") {
                    declaration.indexes.push(meta.input.parse()?);
                } else if meta.path.is_ident("unique") {
                    declaration.unique.push(names(meta.input)?);
                } else {
                    return Err(meta.error("expected collection, installation, search, index or unique"));
                }
                Ok(())
            })?;
        }
        Ok(declaration)
    }
}

/// One field of the struct besides `id` and `meta`.
struct Member<'a> {
    name: &'a Ident,
    text: String,
    kind: &'a Type,
    folded: bool,
    custom: bool,
}

fn members(input: &DeriveInput) -> Result<(Vec<Member<'_>>, &Type)> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "a record is a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(&input.ident, "a record has named fields"));
    };
    let mut id = None;
    let mut meta = false;
    let mut members = Vec::new();
    for field in &fields.named {
        let Some(name) = &field.ident else { continue };
        let text = name.unraw().to_string();
        if text == "id" {
            id = Some(&field.ty);
            continue;
        }
        if text == "meta" {
            meta = true;
            continue;
        }
        let mut member = Member { name, text, kind: &field.ty, folded: false, custom: false };
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("record")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("folded") {
                    member.folded = true;
                } else if meta.path.is_ident("custom") {
                    member.custom = true;
                } else {
                    return Err(meta.error("expected folded or custom"));
                }
                Ok(())
            })?;
        }
        members.push(member);
    }
    match (id, meta) {
        (Some(id), true) => Ok((members, id)),
        _ => Err(Error::new_spanned(&input.ident, "a record has the fields `id` and `meta: Meta`")),
    }
}

fn expand(input: &DeriveInput) -> Result<Tokens> {
    let declaration = Declaration::read(input)?;
    let (members, id) = members(input)?;
    let record = &input.ident;
    let Some(collection) = &declaration.collection else {
        return Err(Error::new_spanned(record, "say #[record(collection = \"…\")]"));
    };
    let placement = if declaration.installation { quote!(Installation) } else { quote!(Tenant) };
    let fields = members.iter().map(|Member { text, kind, folded, custom, .. }| {
        quote! {
            ::crm_core::store::Field {
                name: #text,
                kind: <#kind as ::crm_core::record::FieldType>::KIND,
                optional: <#kind as ::crm_core::record::FieldType>::OPTIONAL,
                folded: #folded,
                custom: #custom,
            }
        }
    });
    let unique = declaration.unique.iter().map(|key| {
        let name = key.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join("_");
        let fields = key.iter().map(|part| &part.name);
        quote!(::crm_core::store::UniqueKey { name: #name, fields: &[#(#fields),*] })
    });
    let indexes = declaration.indexes.iter().map(|index| {
        let parts: Vec<String> = index
            .fields
            .iter()
            .map(|part| if part.descending { format!("{}_down", part.name) } else { part.name.clone() })
            .collect();
        let name = if parts.is_empty() {
            let covers: Vec<&str> = index.covers.iter().map(|part| part.name.as_str()).collect();
            format!("counts_{}", covers.join("_"))
        } else {
            format!("by_{}", parts.join("_"))
        };
        let fields = index.fields.iter().map(
            |Name { name, descending }| quote!(::crm_core::store::IndexField { name: #name, descending: #descending }),
        );
        let covers = index.covers.iter().map(|part| &part.name);
        quote!(::crm_core::store::Index { name: #name, fields: &[#(#fields),*], covers: &[#(#covers),*] })
    });
    let search = declaration.search.iter().map(|part| &part.name);
    let columns = members.iter().enumerate().map(|(place, Member { name, text, kind, .. })| {
        let position = HEAD_FIELDS + place;
        let documentation = format!("The column `{text}`.");
        quote! {
            #[doc = #documentation]
            pub const #name: ::crm_core::record::Column<#kind> = ::crm_core::record::Column::new(#text, #position);
        }
    });
    let to_values =
        members.iter().map(|Member { name, .. }| quote!(::crm_core::record::FieldType::to_value(&self.#name)));
    let from_values = members.iter().map(|Member { name, text, .. }| quote!(#name: values.field(#text)?));

    Ok(quote! {
        impl ::crm_core::record::Record for #record {
            type Id = #id;

            const COLLECTION: &'static ::crm_core::store::Collection = &::crm_core::store::Collection {
                name: #collection,
                placement: ::crm_core::store::Placement::#placement,
                fields: &[
                    ::crm_core::record::HEAD[0],
                    ::crm_core::record::HEAD[1],
                    ::crm_core::record::HEAD[2],
                    ::crm_core::record::HEAD[3],
                    ::crm_core::record::HEAD[4],
                    #(#fields),*
                ],
                unique: &[#(#unique),*],
                indexes: &[#(#indexes),*],
                search: &[#(#search),*],
            };

            fn id(&self) -> #id {
                self.id
            }

            fn meta(&self) -> &::crm_core::record::Meta {
                &self.meta
            }

            fn meta_mut(&mut self) -> &mut ::crm_core::record::Meta {
                &mut self.meta
            }

            fn to_row(&self) -> ::crm_core::store::Row {
                let [id, organization_id, version, created_at, updated_at] = self.meta.head(self.id);
                ::crm_core::store::Row(::std::vec![id, organization_id, version, created_at, updated_at, #(#to_values),*])
            }

            fn from_row(row: ::crm_core::store::Row) -> ::std::result::Result<Self, ::crm_core::record::DecodeError> {
                let mut values = ::crm_core::record::RowReader::new(row);
                let (id, meta) = values.head()?;
                Ok(Self { id, #(#from_values,)* meta })
            }
        }

        #[expect(non_upper_case_globals, reason = "a column has the name of its field")]
        #[allow(clippy::allow_attributes, dead_code, reason = "not every column is named in a query")]
        impl #record {
            #(#columns)*
        }
    })
}
