//! What handlers take out of a request. Each refuses what it cannot read with a [`Problem`](crate::problem::Problem).

mod body;
mod if_match;
mod pairs;
mod path;
mod principal;
mod upload;

pub(crate) use self::{
    body::{Body, is_json, read_json},
    if_match::IfMatch,
    pairs::Pairs,
    path::Path,
    principal::{Authenticated, Caller, authenticate_again, key_of, shows_credentials},
    upload::{FilePart, FileUpload},
};
