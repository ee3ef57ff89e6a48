//! Query parameters that many routes share, for the document; services read them.

use utoipa::IntoParams;

/// Of every list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what services read")]
pub(crate) struct ListParameters {
    /// A rule tree as JSON: `{"field":"spend","op":">","value":5000}`, `{"and":[…]}`, `{"or":[…]}`, `{"not":…}`.
    #[param(example = json!("{\"field\":\"version\",\"op\":\">=\",\"value\":1}"))]
    filter: Option<String>,
    /// Words, each of which must be in some searchable field; case and accents make no difference. Where nothing
    /// matches, near misses come back and the page is marked `fuzzy`.
    #[param(max_length = 200)]
    search: Option<String>,
    /// Fields in order, `-` before one that runs downward; newest first where it is left out.
    #[param(example = "-created_at", min_length = 1)]
    sort: Option<String>,
    /// Only these fields of each record.
    #[param(example = "id,version", min_length = 1)]
    fields: Option<String>,
    /// The most records of a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u8>,
    /// What an earlier page gave as `next_cursor`, with the same filter, search and sort.
    #[param(min_length = 1)]
    cursor: Option<String>,
    /// The number of the page, from 1, instead of a cursor.
    #[param(minimum = 1)]
    page: Option<u32>,
    /// Whether the matches are counted; they are with `page`.
    count: Option<bool>,
}

/// Of every answer with one customer.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what services read")]
pub(crate) struct RecordParameters {
    /// Only these fields.
    #[param(example = "id,name,email", min_length = 1)]
    fields: Option<String>,
    /// `retail` calls fields `full_name`, `contact_number`, `customer_status` and `customer_type`.
    #[param(example = "retail", pattern = "^retail$")]
    profile: Option<String>,
}

/// Of a list of customers.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what services read")]
pub(crate) struct ProfileParameter {
    /// `retail` calls fields `full_name`, `contact_number`, `customer_status` and `customer_type`.
    #[param(example = "retail", pattern = "^retail$")]
    profile: Option<String>,
}

/// Of every answer with orders.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what services read")]
pub(crate) struct JoinParameters {
    /// What is joined: `customer`.
    #[param(example = "customer", pattern = "^customer$")]
    include: Option<String>,
}

/// What of an export is chosen besides customers and fields.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what services read")]
pub(crate) struct ExportParameters {
    /// A rule tree as JSON: `{"field":"spend","op":">","value":5000}`, `{"and":[…]}`, `{"or":[…]}`, `{"not":…}`.
    #[param(example = json!("{\"field\":\"version\",\"op\":\">=\",\"value\":1}"))]
    filter: Option<String>,
    /// Words, each of which must be in some searchable field; case and accents make no difference.
    #[param(max_length = 200)]
    search: Option<String>,
    /// Fields in order, `-` before one that runs downward; oldest first where it is left out, which is the fastest.
    #[param(example = "-created_at", min_length = 1)]
    sort: Option<String>,
    /// Only these fields, as columns in this order; `custom` is all custom fields, `custom.city` one of them.
    #[param(example = "name,email,spend", min_length = 1)]
    fields: Option<String>,
    /// Exports the bin, and nothing but the bin.
    deleted: Option<bool>,
    /// `csv`, `xlsx` or `ndjson`; where it is left out, what `Accept` names first, and else `csv`.
    #[param(example = "csv", pattern = "^(csv|xlsx|ndjson)$")]
    format: Option<String>,
    /// The time zone of instants, by its IANA name; the organization's where it is left out. NDJSON is in UTC always.
    #[param(example = "Europe/Paris")]
    time_zone: Option<String>,
    /// What stands between the cells of CSV: `,` `;` `|` `tab`, or another character.
    #[param(example = ",")]
    delimiter: Option<String>,
    /// Begins CSV with a byte order mark, by which Excel knows UTF-8.
    bom: Option<bool>,
}
