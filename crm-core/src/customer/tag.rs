use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::json;

use super::{Customer, CustomerInput, Customers, ask::ChunkOptions};
use crate::{
    access::{Principal, permissions},
    error::{Error, FieldErrors, Result},
    input::{Input, MAX_BATCH},
    list::{DEFAULT_LIMIT, List, ListPage, MAX_LIMIT, MAX_SEARCH},
    record::Record as _,
    repo::Visible,
    store::{Aggregation, Group, Measure, Measured, Value, fold::fold},
    text::Line,
};

/// A tag, and how many customers in sight have it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TagCount {
    /// The tag.
    pub tag: String,
    /// How many customers have it.
    pub count: u64,
}

/// One tag to be called otherwise.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenamedTag {
    /// The tag as it is.
    pub from: Line<64>,
    /// The tag as it is to be. Where it is there already, the two become one.
    pub to: Line<64>,
}

/// Tags to become one.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MergedTags {
    /// The tags that go, 1 to 100 of them.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 100))]
    pub from: Vec<Line<64>>,
    /// The tag that stays, or begins to be. `into` is taken for it too.
    #[input(alias = "into")]
    pub to: Line<64>,
}

/// What became of the customers who had a tag.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TagChange {
    /// How many customers were changed.
    pub updated: u64,
    /// How many were changed by somebody else at the same moment, and are to be tried again.
    pub failed: u64,
}

impl Customers<'_> {
    /// Every tag of the customers in sight, in the order of the alphabet, with how many have it; only those with
    /// `part` in them where it is given.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:read`.
    pub async fn tags(&self, by: &Principal, part: Option<&str>) -> Result<Vec<TagCount>> {
        by.may(permissions::CUSTOMERS_READ)?;
        let aggregation = Aggregation {
            filter: Customer::visible_to(by).and(Customer::tags.exists()),
            groups: vec![Group::Field(Customer::tags.field())],
            measures: vec![Measure::Count],
        };
        let rows = self.crm.store().aggregate(by.scope(), Customer::COLLECTION, &aggregation).await?;
        let part = part.map(fold).unwrap_or_default();
        let mut tags: Vec<(String, TagCount)> = rows
            .into_iter()
            .filter_map(|row| match (row.groups.into_iter().next(), row.measures.into_iter().next()) {
                (Some(Value::Text(tag)), Some(Measured::Count(count))) => Some((fold(&tag), TagCount { tag, count })),
                _ => None,
            })
            .filter(|(folded, _)| folded.contains(&part))
            .collect();
        tags.sort_by(|(folded, tag), (other_folded, other)| {
            folded.cmp(other_folded).then_with(|| tag.tag.cmp(&other.tag))
        });
        Ok(tags.into_iter().map(|(_, tag)| tag).collect())
    }

    /// A page of the tags in sight: `search` (a part of the tag), `sort` (`tag`, `count`, each also with `-`), `limit`,
    /// and `cursor` or `page`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every wrong parameter, [`Error::Forbidden`] without `customers:read`.
    pub async fn list_tags(&self, by: &Principal, pairs: &[(String, String)]) -> Result<List<TagCount>> {
        by.may(permissions::CUSTOMERS_READ)?;
        let request = TagRequest::read(pairs)?;
        let mut tags = self.tags(by, request.search.as_deref()).await?;
        match request.sort.as_str() {
            "-tag" => tags.reverse(),
            // Tags of the same count stay in the order of the alphabet.
            "count" => tags.sort_by_key(|tag| tag.count),
            "-count" => tags.sort_by_key(|tag| std::cmp::Reverse(tag.count)),
            _ => {}
        }
        let total = tags.len();
        let begin = match &request.cursor {
            Some(after) => request.place_after(&tags, after),
            None => request.page.saturating_sub(1).saturating_mul(request.limit).min(total),
        };
        let data: Vec<TagCount> = tags.into_iter().skip(begin).take(request.limit).collect();
        let has_more = begin + data.len() < total;
        let next_cursor = data.last().filter(|_| has_more).map(|last| request.cursor_after(last));
        let total = u64::try_from(total).ok();
        let page = ListPage { limit: request.limit, next_cursor, has_more, total, ..ListPage::default() };
        Ok(List { data, page })
    }

    /// Calls a tag otherwise, at every customer in sight that has it.
    ///
    /// # Errors
    /// [`Error::NotFound`] where no customer in sight has it, [`Error::Forbidden`] without `tags:write`.
    pub async fn rename_tag(&self, by: &Principal, renamed: &RenamedTag) -> Result<TagChange> {
        self.change_tags(by, std::slice::from_ref(&renamed.from), &renamed.to, "customer.tag_renamed").await
    }

    /// Makes several tags one, at every customer in sight that has one of them.
    ///
    /// # Errors
    /// Those of [`Customers::rename_tag`], [`Error::Invalid`] for none or more than 100 tags.
    pub async fn merge_tags(&self, by: &Principal, merged: &MergedTags) -> Result<TagChange> {
        if !(1..=super::MAX_TAGS).contains(&merged.from.len()) {
            let (code, message) = if merged.from.is_empty() {
                ("REQUIRED", "must have at least one element".to_owned())
            } else {
                ("TOO_MANY", format!("must have at most {} elements, not {}", super::MAX_TAGS, merged.from.len()))
            };
            by.may(permissions::TAGS_WRITE)?;
            return Err(Error::invalid("from", code, message));
        }
        self.change_tags(by, &merged.from, &merged.to, "customer.tags_merged").await
    }

    async fn change_tags(
        &self,
        by: &Principal,
        from: &[Line<64>],
        to: &Line<64>,
        action: &'static str,
    ) -> Result<TagChange> {
        by.may(permissions::TAGS_WRITE)?;
        let going: BTreeSet<&Line<64>> = from.iter().filter(|tag| *tag != to).collect();
        if going.is_empty() {
            return Err(Error::invalid("to", "INVALID_VALUE", "must be another tag than `from`"));
        }
        let change = CustomerInput {
            remove_tags: going.iter().map(|tag| (*tag).clone()).collect(),
            add_tags: vec![to.clone()],
            ..CustomerInput::default()
        };
        let filter = crate::store::Filter::In {
            field: Customer::tags.field(),
            values: going.iter().map(|tag| Value::Text(tag.as_str().to_owned())).collect(),
        };
        let description = json!({"from": going, "to": to});
        let options = ChunkOptions { entry: Some((action, description)), ..ChunkOptions::default() };
        let report = self.change_matching(by, filter, &change, options).await?;
        debug_assert!(report.results.len() <= MAX_BATCH, "reports are bounded");
        if report.matched == 0 {
            return Err(Error::NotFound("tag"));
        }
        Ok(TagChange { updated: report.updated, failed: report.failed })
    }
}

/// What is asked of the list of tags.
#[derive(Debug)]
struct TagRequest {
    search: Option<String>,
    sort: String,
    limit: usize,
    page: usize,
    cursor: Option<TagCount>,
}

impl TagRequest {
    fn read(pairs: &[(String, String)]) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::new();
        let mut request = Self { search: None, sort: "tag".to_owned(), limit: DEFAULT_LIMIT, page: 1, cursor: None };
        let mut cursor = None;
        for (name, value) in pairs {
            match name.as_str() {
                "search" if value.chars().count() <= MAX_SEARCH => request.search = Some(value.clone()),
                "search" => {
                    errors.add("search", "TOO_LONG", format!("must not be longer than {MAX_SEARCH} characters"));
                }
                "sort" if ["tag", "-tag", "count", "-count"].contains(&value.as_str()) => {
                    request.sort.clone_from(value);
                }
                "sort" => errors.add("sort", "UNKNOWN_FIELD", "must be one of tag, -tag, count, -count"),
                "limit" => match value.parse() {
                    Ok(limit @ 1..=MAX_LIMIT) => request.limit = limit,
                    _ => {
                        let message = format!("must be a whole number between 1 and {MAX_LIMIT}");
                        errors.add("limit", "OUT_OF_RANGE", message);
                    }
                },
                "page" => match value.parse() {
                    Ok(page @ 1..) => request.page = page,
                    _ => errors.add("page", "OUT_OF_RANGE", "must be a whole number, 1 for the first page"),
                },
                "count" if matches!(value.as_str(), "true" | "false") => {}
                "count" => errors.add("count", "INVALID_FORMAT", "must be true or false"),
                "cursor" => cursor = Some(value),
                name => {
                    let name: String = name.chars().take(100).collect();
                    let allowed = "is not a parameter here; allowed are: search, sort, limit, page, count, cursor";
                    errors.add(name, "UNKNOWN_PARAMETER", allowed);
                }
            }
        }
        if let Some(cursor) = cursor {
            request.cursor = request.read_cursor(cursor);
            if request.cursor.is_none() {
                errors.add("cursor", "INVALID_CURSOR", "belongs to another list: take page.next_cursor as it is");
            }
        }
        errors.or(request)
    }

    /// The last tag of a page, with the list it belongs to.
    fn cursor_after(&self, last: &TagCount) -> String {
        URL_SAFE_NO_PAD.encode(json!([self.sort, self.search, last.tag, last.count]).to_string())
    }

    fn read_cursor(&self, text: &str) -> Option<TagCount> {
        if text.len() > 4096 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (sort, search, tag, count): (String, Option<String>, String, u64) = serde_json::from_slice(&bytes).ok()?;
        (sort == self.sort && search == self.search).then_some(TagCount { tag, count })
    }

    /// Where the page after a tag begins, whether or not the tag is still there.
    fn place_after(&self, tags: &[TagCount], after: &TagCount) -> usize {
        let name = |tag: &TagCount| (fold(&tag.tag), tag.tag.clone());
        let after_name = name(after);
        tags.partition_point(|tag| match self.sort.as_str() {
            "-tag" => name(tag) >= after_name,
            "count" => (tag.count, name(tag)) <= (after.count, after_name.clone()),
            "-count" => {
                (std::cmp::Reverse(tag.count), name(tag)) <= (std::cmp::Reverse(after.count), after_name.clone())
            }
            _ => name(tag) <= after_name,
        })
    }
}
