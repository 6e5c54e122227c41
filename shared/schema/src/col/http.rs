//! http_activity 4002: requests and responses.

pub use super::endpoint::*;

columns! {
    from super::AFTER_ENDPOINTS;
    METHOD "method" Keyword "http_request.http_method" "request method, upper case";
    HTTP_HOST "http_host" Keyword "http_request.url.hostname" "host asked for";
    PATH "path" Keyword "http_request.url.path" "path asked for, as sent";
    QUERY_STRING "query_string" Text "http_request.url.query_string" "what followed the question mark, as sent";
    STATUS "status" Int32 "http_response.code" "status code of the response";
    USER_AGENT "user_agent" Keyword "http_request.user_agent" "the client's name for itself";
    REFERRER "referrer" Keyword "http_request.referrer" "page it came from";
    REQ_BYTES "req_bytes" Int64 "http_request.body_length" "bytes of the request's body";
    RESP_BYTES "resp_bytes" Int64 "http_response.body_length" "bytes of the response's body";
    MIME "mime" Keyword "http_response.content_type" "media type of the response";
}
