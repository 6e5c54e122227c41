//! authentication 3002: logins, tickets and what became of them.

pub use super::endpoint::*;

columns! {
    from super::AFTER_ENDPOINTS;
    USER "user" Keyword "user.name" "who logged in";
    USER_DOMAIN "user_domain" Keyword "user.domain" "the user's domain or realm";
    SERVICE "service" Keyword "service.name" "service logged in to";
    AUTH_PROTOCOL "auth_protocol" Keyword "auth_protocol" "protocol of the login: Kerberos, NTLM, ssh";
    LOGON_TYPE "logon_type" Keyword "logon_type" "kind of login: Interactive, Network, Remote Interactive";
    IS_MFA "is_mfa" Bool "is_mfa" "whether a second factor was used";
    RESULT "result" Keyword "status_detail" "outcome in the words of the source";
    DEVICE "device" Keyword "device.hostname" "host that reported it";
}
