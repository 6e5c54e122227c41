//! base_event 0: what has no class of its own; the columns are those of a post, with the osint profile.

columns! {
    from super::AFTER_ENVELOPE;
    PLATFORM "platform" Keyword "osint[0].vendor_name" "where it was posted";
    AUTHOR "author" Keyword "osint[0].creator.name" "who posted it";
    URL "url" Text "osint[0].value" "address of the post";
    LANG "lang" Keyword "unmapped.atalaya.lang" "language, BCP 47";
    TEXT "text" Text "osint[0].desc" "its text";
    TEXT_SHA256 "text_sha256" Text "unmapped.atalaya.text_sha256" "SHA-256 of the text, hexadecimal";
    SIMHASH "simhash" Int64 "unmapped.atalaya.simhash" "similarity hash of the text: close texts differ in few bits";
    VICTIM "victim" Keyword "unmapped.atalaya.victim" "victim it names";
    GROUP_NAME "group_name" Keyword "osint[0].threat_actor.name" "group that posted it or is named in it";
}
