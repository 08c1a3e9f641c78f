//! Tag numbers that are read here (rpm 4.20 and 6.0, `include/rpm/rpmtag.h`).

/// Tags of the main header.
pub mod main {
    #![expect(missing_docs, reason = "names are rpm's own")]
    pub const I18N_TABLE: u32 = 100;
    pub const NAME: u32 = 1000;
    pub const VERSION: u32 = 1001;
    pub const RELEASE: u32 = 1002;
    pub const EPOCH: u32 = 1003;
    pub const SUMMARY: u32 = 1004;
    pub const DESCRIPTION: u32 = 1005;
    pub const BUILD_TIME: u32 = 1006;
    pub const BUILD_HOST: u32 = 1007;
    pub const SIZE: u32 = 1009;
    pub const VENDOR: u32 = 1011;
    pub const LICENSE: u32 = 1014;
    pub const PACKAGER: u32 = 1015;
    pub const GROUP: u32 = 1016;
    pub const URL: u32 = 1020;
    pub const ARCH: u32 = 1022;
    pub const OLD_FILE_NAMES: u32 = 1027;
    pub const FILE_MODES: u32 = 1030;
    pub const FILE_DIGESTS: u32 = 1035;
    pub const FILE_FLAGS: u32 = 1037;
    pub const SOURCE_RPM: u32 = 1044;
    pub const ARCHIVE_SIZE: u32 = 1046;
    pub const PROVIDE_NAME: u32 = 1047;
    pub const REQUIRE_FLAGS: u32 = 1048;
    pub const REQUIRE_NAME: u32 = 1049;
    pub const REQUIRE_VERSION: u32 = 1050;
    pub const NO_SOURCE: u32 = 1051;
    pub const NO_PATCH: u32 = 1052;
    pub const CONFLICT_FLAGS: u32 = 1053;
    pub const CONFLICT_NAME: u32 = 1054;
    pub const CONFLICT_VERSION: u32 = 1055;
    pub const EXCLUDE_ARCH: u32 = 1059;
    pub const EXCLUSIVE_ARCH: u32 = 1061;
    pub const CHANGELOG_TIME: u32 = 1080;
    pub const CHANGELOG_NAME: u32 = 1081;
    pub const CHANGELOG_TEXT: u32 = 1082;
    pub const OBSOLETE_NAME: u32 = 1090;
    pub const SOURCE_PACKAGE: u32 = 1106;
    pub const PROVIDE_FLAGS: u32 = 1112;
    pub const PROVIDE_VERSION: u32 = 1113;
    pub const OBSOLETE_FLAGS: u32 = 1114;
    pub const OBSOLETE_VERSION: u32 = 1115;
    pub const DIR_INDEXES: u32 = 1116;
    pub const BASE_NAMES: u32 = 1117;
    pub const DIR_NAMES: u32 = 1118;
    pub const OLD_SUGGEST_NAME: u32 = 1156;
    pub const OLD_SUGGEST_VERSION: u32 = 1157;
    pub const OLD_SUGGEST_FLAGS: u32 = 1158;
    pub const OLD_ENHANCE_NAME: u32 = 1159;
    pub const OLD_ENHANCE_VERSION: u32 = 1160;
    pub const OLD_ENHANCE_FLAGS: u32 = 1161;
    pub const LONG_SIZE: u32 = 5009;
    pub const FILE_DIGEST_ALGORITHM: u32 = 5011;
    pub const RECOMMEND_NAME: u32 = 5046;
    pub const RECOMMEND_VERSION: u32 = 5047;
    pub const RECOMMEND_FLAGS: u32 = 5048;
    pub const SUGGEST_NAME: u32 = 5049;
    pub const SUGGEST_VERSION: u32 = 5050;
    pub const SUGGEST_FLAGS: u32 = 5051;
    pub const SUPPLEMENT_NAME: u32 = 5052;
    pub const SUPPLEMENT_VERSION: u32 = 5053;
    pub const SUPPLEMENT_FLAGS: u32 = 5054;
    pub const ENHANCE_NAME: u32 = 5055;
    pub const ENHANCE_VERSION: u32 = 5056;
    pub const ENHANCE_FLAGS: u32 = 5057;
    pub const PAYLOAD_DIGEST: u32 = 5092;
    pub const PAYLOAD_DIGEST_ALGORITHM: u32 = 5093;
    pub const MODULARITY_LABEL: u32 = 5096;
    pub const PAYLOAD_SIZE: u32 = 5112;
    pub const RPM_FORMAT: u32 = 5114;
    pub const PAYLOAD_SHA512: u32 = 5121;
}

/// Tags of the signature header.
pub mod signature {
    #![expect(missing_docs, reason = "names are rpm's own")]
    pub const DSA: u32 = 267;
    pub const RSA: u32 = 268;
    pub const SHA1: u32 = 269;
    pub const LONG_SIZE: u32 = 270;
    pub const LONG_ARCHIVE_SIZE: u32 = 271;
    pub const SHA256: u32 = 273;
    pub const OPENPGP: u32 = 278;
    pub const SIZE: u32 = 1000;
    pub const PGP: u32 = 1002;
    pub const MD5: u32 = 1004;
    pub const GPG: u32 = 1005;
    pub const PAYLOAD_SIZE: u32 = 1007;
}

/// Region tags, which stand first in a header and cover it.
pub(crate) mod region {
    pub(crate) const IMAGE: u32 = 61;
    pub(crate) const SIGNATURES: u32 = 62;
    pub(crate) const IMMUTABLE: u32 = 63;
}
