//! process_activity 1007: process starts and other host logs; the original fields stay in `unmapped`.

columns! {
    from super::AFTER_ENVELOPE;
    DEVICE "device" Keyword "device.hostname" "host it happened on";
    USER "user" Keyword "actor.user.name" "account it ran under";
    PROCESS "process" Keyword "process.path" "image of the process, full path where known";
    COMMAND_LINE "command_line" Keyword "process.cmd_line" "its command line";
    PARENT_PROCESS "parent_process" Keyword "process.parent_process.path" "image of its parent";
    PARENT_COMMAND_LINE "parent_command_line" Keyword "process.parent_process.cmd_line" "its parent's command line";
    HASHES "hashes" TextList "process.file.hashes[].value" "hashes of the image, hexadecimal, lower case; the length tells the algorithm";
}
