"""The public texts that experiments use, besides WMT14's archives: addresses, sizes and SHA-256.

Sizes and hashes are of the text itself, plain or out of a gzip file: of the texts that the
published results were made with. The addresses could not be tried where this was written; what has
changed there is refused. WMT14-mini is a mix of several sources that no single address has: its
files are checked, not fetched.
"""

from dataclasses import dataclass

MULTI30K = "https://github.com/multi30k/dataset/raw/master/data/task1/raw/"
SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"


@dataclass(frozen=True)
class PublicText:
    """One file.

    Args:
        path: below the folder of corpora, without `.gz`.
        size: bytes of the text.
        sha256: of the text.
        url: where its public origin has it; "" where it must be given by a folder.
    """

    path: str
    size: int
    sha256: str
    url: str = ""

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return self.path.rsplit("/", 1)[-1]


def _read(table: str, url: str = "", ending: str = "") -> tuple[PublicText, ...]:
    """Lines of SHA-256, size and path; the address of each is `url`, its name and `ending`."""
    texts = []
    for line in table.split("\n"):
        sha256, size, path = line.split(" ")
        name = path.rsplit("/", 1)[-1]
        texts.append(PublicText(path, int(size), sha256, f"{url}{name}{ending}" if url else ""))
    return tuple(texts)


_MULTI30K = """\
4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16 70649 multi30k/test_2016_flickr.de
399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182 62076 multi30k/test_2016_flickr.en
550c2612c7ae45ed46754e67c3011fde500b1bf88592a376e2ed6126903766f7 2110266 multi30k/train.de
f7cb7c7d411f6039a15de94de8c4d1709fada7b7474791598fd18451ec62427d 1801236 multi30k/train.en
c02c1d05fb89dba12b00503a2744b1105d45fef287501fd701b4fea5b1fca3e5 75980 multi30k/val.de
1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227 63297 multi30k/val.en"""

_SHAKESPEARE = (
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed 1115394"
    " tinyshakespeare/input.txt"
)

_WMT14_MINI = """\
391c2e489919397e20dc13b4260e6bc14a28c45c4185834eeebd22045f076ab0 684309 train/dialogues.de
8263490bbbbebc4816cb46672c9f474bffdca413eb386eccb74f91a5e3ee09a9 567645 train/dialogues.docid
52d24c2c536fa3f10d83afa0e84cd6d02bcb05a4d95152116f5c061a70ae1365 590529 train/dialogues.en
c40e45eeb5b92156422a9c9781bafdab1dbbb525b09c0f410ad21943d205cafb 3473622 train/europarl20k.de
fd51a588005052ecd3786bd773818303c8b6930acf42b627bae1f7ab092154d8 160000 train/europarl20k.docid
4fc27e152d74d7c587b9dca8aa785da898f5995a3432155245aa064cc1862969 3070325 train/europarl20k.en
5c2a0e236cbe563fb7e9122552bb324055ed12a660a9fbd97ef422403f77f8ca 625299 train/europarl7_dev.de
3d6dc6bc7461330801ca0e4c27d9836de1163b8f2bd5a717f40869de3d298548 68153 train/europarl7_dev.docid
196800567c1fdd69e2e840a9b76791a700d0ca71ddb195ff524a6ef7a1fe2a5e 544416 train/europarl7_dev.en
4a5d4a5ea2d67ace91256721b3884546a62f8db04c3485ccbebd52a2da8425b5 498136 train/gnome_docs.de
f6f45d60a486290a013ec92900d9b7a4fe2bab1c4fa4d6ffe8b7874d23a92405 131720 train/gnome_docs.docid
7cc04f78f7470da21a6ff6a2134693bf90de4e98b04d97f17c7d9d570687d4ab 404366 train/gnome_docs.en
9b60a90582d2a7ceb3a2b8198d98f0e991bce22f64449974b97240af0f593e1d 932431 train/iwslt17_dev.de
6e00a939f6c26cee2f3a10d55f0e6fee58b7259adf78dbc93956bec4be07d18d 152439 train/iwslt17_dev.docid
95324e5b1fd9a40c50f5b70f3edf88b6f4612aee4faa121d35cffdf6a7c133ac 830098 train/iwslt17_dev.en
6862f993bf40757f8e6ce68e0d0fb3b81f6c9e967631744522266c40113d3e56 4786157 train/kde_docs.de
2a874e2771614c2c1041ffbc221c0536a34e4d350810f7058742070ecb8f3f13 1559093 train/kde_docs.docid
1a58d67022ad26bb3a71d447d105c653ad6ab7808c04a65d6a963e85a2da39be 4066855 train/kde_docs.en
5b6c38d04fbb45fb07b176b71d5a20d3431f2d83897b5c8a773c7b67f063d9a7 6914920 train/manpages.de
8b01e5560107355b3e37e2eeabd8789133db40c55b582d386827e62b1ff84597 433550 train/manpages.docid
f313cf94354f4d5514e3854600fe409265884f4346709dac03727d2b029d3f06 5769242 train/manpages.en
dcfa33f2b619290c409892cc1b386fde3961b04cdf0ba72d5683f4f32e58eac6 298367 train/news-test2008.de
7624ebb22192f3b914c2ea3b8bdcec374cd97330f7d3c18397144df6eb4d6b49 49459 train/news-test2008.docid
8d59671da8f5f9de57e23815667b63cc12f2214ffe19c5b83468f0d9dcae3f0b 263237 train/news-test2008.en
a2540b06aae728dea9ec860ea97682fbf228333fc4ad3a492bc988ea690dd6b2 69684 train/newssyscomb2009.de
66517b9164b93742e43122012e650d0fab2ce3aebc773df6ec766575429ada4c 13091 train/newssyscomb2009.docid
b734a44294fa3b23a2491cd9a2c59fb5eb71332ace70b2c9039978863dd0e43d 62557 train/newssyscomb2009.en
3a72119513a834e510ea1300eb4d675248c719bee8862f9e8e56be046fb23b18 382596 train/newstest2009.de
e1877ff6e1a553164f63f219fd61f572d9e79046d2dd3f7908b7a7bce1070bc4 65130 train/newstest2009.docid
c74a4862decfe87f88fb10eacdcb6ac972a648f0dd6deeb25ac2dbc6128dc0b6 345555 train/newstest2009.en
4f4b02d3abe150ca47a745d138d90f688edb20dd2d2fedca16aa05fd1e2018b1 383291 train/newstest2010.de
49b21781c2df3c39d596bc903ed7c825e190d443a59500763b458cb8f6f61736 69618 train/newstest2010.docid
1ebece77e333965cbc66fde735a6f17e026b4d6690f4f7fdaba839b7bdadac3b 328648 train/newstest2010.en
033bc05659f61c5e51170973267d21e23a9a968557b866f3842c92e416a60e1b 450571 train/newstest2011.de
3394e1950ea994180c1abd4d739fd1de6693fd30dd91710a515d5f2770c73080 78515 train/newstest2011.docid
d387569743c0fa9097df4d4e2c1dd9e6ba9ef3cee6e0f473da3204c887dcf8fd 396884 train/newstest2011.en
10563e0591c9ed7b11805e5173d175c5786a4823da1f9dee354795a3b6514b97 446764 train/newstest2012.de
8948dfc0477a809fbe30d04d7c4ee50541ae80f9a29d8b6ac4e30c2cd537ddef 94525 train/newstest2012.docid
4ad37ce6758a083d4c73801896bc74350ae3d9b3cd68d086f6f5790d37e4c164 381729 train/newstest2012.en
9e8cf8c2fea81de620b30eb8617242dd17a97b00e068900d84625a4484ef9326 6328948 train/tatoeba.de
56a46dc23f5fe82e219fc38ae63cad1af8d6959e661cec34fffacaa85dcdf3ea 5367902 train/tatoeba.en
026f4fd1fe147ece7eb201ef46063482990554d342e05db9480b1258d71d3d4f 385421 wmt14/newstest2013.de
198be7f7d49fa1c64ff5ac9a624e7e5e3abb925e92b48ad6ba12311719b2b515 82374 wmt14/newstest2013.docid
80b81d23ddfd16724aa21b288b21f29c825c8838807aecbc65fe8a1b313325de 332972 wmt14/newstest2013.en
ae5d110486bc33d7175e9e28c7d0051eb3e5fcd2166dd93371089852c091a20e 399406 wmt14/newstest2014.de
97d9b79a0da85b7a3bded821a00088dd46958a9d8e147cca81d840be569f288b 55485 wmt14/newstest2014.docid
7294bccf2879a97b3706b95c9595f1459617a8ee7130d5d8581c910e69736971 359898 wmt14/newstest2014.en"""

#: By the name that `fetch` takes.
PUBLIC_TEXTS: dict[str, tuple[PublicText, ...]] = {
    "multi30k": _read(_MULTI30K, MULTI30K, ".gz"),
    "tinyshakespeare": _read(_SHAKESPEARE, SHAKESPEARE),
    "wmt14-mini": _read(_WMT14_MINI),
}
