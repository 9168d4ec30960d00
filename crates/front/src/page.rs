//! The page that tells a client of an error, in gunicorn's form.

use hyper::StatusCode;

/// A page with the status's reason as its title.
#[must_use]
pub fn error_page(status: StatusCode, message: &str) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    let message = escaped(message);
    format!(
        "<html>\n  <head>\n    <title>{reason}</title>\n  </head>\n  <body>\n    \
         <h1><p>{reason}</p></h1>\n    {message}\n  </body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_has_sent_cannot_become_markup() {
        let page = error_page(StatusCode::BAD_REQUEST, "<b> & 'c'");
        assert_eq!(
            page,
            "<html>\n  <head>\n    <title>Bad Request</title>\n  </head>\n  <body>\n    \
             <h1><p>Bad Request</p></h1>\n    &lt;b&gt; &amp; &#x27;c&#x27;\n  </body>\n</html>\n"
        );
    }
}
