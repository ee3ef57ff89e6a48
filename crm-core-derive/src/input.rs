//! `#[derive(Input)]`.

use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{
    Data, DeriveInput, Error, Fields, Ident, LitStr, Path, Result, Token, ext::IdentExt as _, parse::ParseStream,
};

use crate::names;

/// The field that tells whose a record is.
const ORGANIZATION: &str = "organization_id";

/// One field of the struct.
struct Member<'a> {
    name: &'a Ident,
    names: Vec<String>,
    default: bool,
}

fn members(input: &DeriveInput) -> Result<Vec<Member<'_>>> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "an input is a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(&input.ident, "an input has named fields"));
    };
    let mut members = Vec::new();
    for field in &fields.named {
        let Some(name) = &field.ident else { continue };
        let mut member = Member { name, names: vec![name.unraw().to_string()], default: false };
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("input")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("alias") {
                    member.names.push(meta.value()?.parse::<LitStr>()?.value());
                } else if meta.path.is_ident("rename") {
                    member.names = vec![meta.value()?.parse::<LitStr>()?.value()];
                } else if meta.path.is_ident("default") {
                    member.default = true;
                } else {
                    return Err(meta.error("expected alias, rename or default"));
                }
                Ok(())
            })?;
        }
        members.push(member);
    }
    Ok(members)
}

/// Members that are not read: as they are written here, or under the name of a constant.
#[derive(Default)]
struct Names {
    written: Vec<String>,
    constants: Vec<Path>,
}

impl Names {
    /// Reads `(a, b)` or `= CONSTANT`.
    fn read(&mut self, input: ParseStream<'_>) -> Result<()> {
        if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            self.constants.push(input.parse()?);
        } else {
            self.written.extend(names(input)?.into_iter().map(|name| name.name));
        }
        Ok(())
    }

    /// The slices of names, with what every record shows besides: its organization, as none is moved to another.
    fn slices(mut self) -> Vec<Tokens> {
        if self.written.is_empty() && self.constants.is_empty() {
            return Vec::new();
        }
        if !self.written.iter().any(|name| name == ORGANIZATION) {
            self.written.push(ORGANIZATION.to_owned());
        }
        let (written, constants) = (self.written, self.constants);
        constants.iter().map(|constant| quote!(#constant)).chain([quote!(&[#(#written),*])]).collect()
    }
}

pub(crate) fn expand(input: &DeriveInput) -> Result<Tokens> {
    let members = members(input)?;
    let (mut ignored, mut refused) = (Names::default(), Names::default());
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("input")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("ignore") {
                ignored.read(meta.input)?;
            } else if meta.path.is_ident("refuse") {
                refused.read(meta.input)?;
            } else {
                return Err(meta.error("expected ignore or refuse"));
            }
            Ok(())
        })?;
    }
    let record = &input.ident;
    let (parameters, arguments, conditions) = input.generics.split_for_impl();
    let fields: Vec<&Ident> = members.iter().map(|member| member.name).collect();
    let read: Vec<Ident> = fields.iter().map(|name| format_ident!("read_{}", name.unraw())).collect();
    let reads = members.iter().zip(&read).map(|(Member { names, default, .. }, read)| {
        if *default {
            quote! {
                let #read = members.read_or(&[#(#names),*], &mut errors, || ::std::option::Option::Some(::std::default::Default::default()));
            }
        } else {
            quote!(let #read = members.read(&[#(#names),*], &mut errors);)
        }
    });
    let (ignored, refused) = (ignored.slices(), refused.slices());
    let allowed = members.iter().filter_map(|member| member.names.first());

    Ok(quote! {
        impl #parameters ::crm_core::input::FromInput for #record #arguments #conditions {
            fn from_input(
                json: &::serde_json::value::RawValue,
            ) -> ::std::result::Result<Self, ::crm_core::error::FieldErrors> {
                let mut members = ::crm_core::input::Members::parse(json)?;
                let mut errors = ::crm_core::error::FieldErrors::new();
                #(#reads)*
                #(members.ignore(#ignored);)*
                #(members.refuse(#refused, &mut errors);)*
                members.finish(&[#(#allowed),*], &mut errors);
                match (#(#read,)*) {
                    (#(::std::option::Option::Some(#read),)*) if errors.is_empty() => ::std::result::Result::Ok(Self { #(#fields: #read),* }),
                    _ => ::std::result::Result::Err(errors),
                }
            }
        }
    })
}
