//! Heads copied, so that neither copy refers to the other's memory.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, request, response};

/// The head of a request, whose parts may all be slices of the connection's buffer.
///
/// The extensions move along.
pub(super) fn copy_request(head: &mut request::Parts) -> request::Parts {
    let mut copy = http::Request::new(()).into_parts().0;
    copy.method = head.method.clone();
    copy.uri = copy_uri(&head.uri);
    copy.version = head.version;
    copy.headers = copy_headers(&head.headers);
    copy.extensions = core::mem::take(&mut head.extensions);
    copy
}

/// The head of a response; the extensions move along.
pub(super) fn copy_response(head: &mut response::Parts) -> response::Parts {
    let mut copy = http::Response::new(()).into_parts().0;
    copy.status = head.status;
    copy.version = head.version;
    copy.headers = copy_headers(&head.headers);
    copy.extensions = core::mem::take(&mut head.extensions);
    copy
}

pub(super) fn copy_headers(headers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::try_with_capacity(headers.keys_len()).unwrap_or_default();
    for (name, value) in headers {
        // What was made without a check, and would not pass one, is shared rather than lost.
        let name_copy = HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone());
        let mut value_copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
        value_copy.set_sensitive(value.is_sensitive());
        copy.append(name_copy, value_copy);
    }
    copy
}

fn copy_uri(uri: &Uri) -> Uri {
    // Every URI that was parsed is parsed again from its text; one that was made of parts might not be.
    Uri::from_maybe_shared(Bytes::from(uri.to_string())).unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_equal() {
        for uri in ["/", "/a/b?c=d&e", "*", "host:443", "http://host:80/path?query"] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(copy_uri(&uri), uri);
        }
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static("a=1"));
        headers.append("set-cookie", HeaderValue::from_static("b=2"));
        headers.append("x-of-ours", HeaderValue::from_bytes(b"\xfe\xff").unwrap());
        let mut secret = HeaderValue::from_static("secret");
        secret.set_sensitive(true);
        headers.append("authorization", secret);
        let copy = copy_headers(&headers);
        assert_eq!(copy, headers);
        assert!(copy["authorization"].is_sensitive());
    }
}
