use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The OWASP secure-headers list for an API. What a handler has set itself stays.
static ALWAYS: [(HeaderName, HeaderValue); 11] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("deny")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-embedder-policy"), HeaderValue::from_static("require-corp")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static(
            "accelerometer=(), autoplay=(), camera=(), cross-origin-isolated=(), display-capture=(), \
         encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), keyboard-map=(), magnetometer=(), \
         microphone=(), midi=(), payment=(), picture-in-picture=(), publickey-credentials-get=(), \
         screen-wake-lock=(), sync-xhr=(), usb=(), web-share=(), xr-spatial-tracking=()",
        ),
    ),
    (header::X_DNS_PREFETCH_CONTROL, HeaderValue::from_static("off")),
    (HeaderName::from_static("x-permitted-cross-domain-policies"), HeaderValue::from_static("none")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store, max-age=0")),
];
const HTTPS_ONLY: HeaderValue = HeaderValue::from_static("max-age=63072000; includeSubDomains");

/// Sets what every answer carries.
pub(super) fn apply(headers: &mut HeaderMap, https: bool) {
    headers.reserve(ALWAYS.len() + 8);
    for (name, value) in &ALWAYS {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    if https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HTTPS_ONLY);
    }
    headers.remove(header::SERVER);
    name_the_charset(headers);
}

/// Texts without a charset are UTF-8, and say so.
fn name_the_charset(headers: &mut HeaderMap) {
    let Some(content_type) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let is_text = content_type.starts_with("text/")
        || ["application/json", "application/javascript", "application/problem+json"].contains(&content_type);
    if is_text
        && !content_type.contains("charset")
        && let Ok(value) = HeaderValue::try_from(format!("{content_type}; charset=utf-8"))
    {
        headers.insert(header::CONTENT_TYPE, value);
    }
}
