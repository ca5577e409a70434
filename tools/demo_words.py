"""The words of the demo's catalogue: invented shops and what they sell, in English and Vietnamese.

Pairs are (vi, en). Names are NFC, as PostgreSQL gets them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["CATEGORIES", "KINDS", "MERCHANTS", "ORGANIZERS", "SENTENCES", "SLOTS", "Kind", "Pair"]

Pair = tuple[str, str]


class Kind(NamedTuple):
    """A family of products: every base with every twist."""

    prefix: str
    merchant: str
    category: str
    unit: Pair
    tags: tuple[str, ...]
    prices: tuple[int, int]
    bases: tuple[Pair, ...]
    twists: tuple[Pair, ...]


ORGANIZERS: Final = (
    (
        "o-meadow",
        ("Xóm Đồng Cỏ Hát", "Singing Meadow Quarter"),
        {"plan": "garden", "since": 2021, "owner": None},
    ),
    ("o-tides", ("Phố Thủy Triều Lười", "Lazy Tide Street"), {"plan": "harbour", "limits": {"shops": 8}}),
)

MERCHANTS: Final = (
    (
        "m-snail",
        "o-tides",
        ("Quán Con Ốc Đeo Kính", "The Snail with Glasses"),
        "con-oc-deo-kinh",
        {"line1": "7 Hẻm Đèn Giấy", "city": "Hội An", "note": None},
        (15.8801, 108.338),
    ),
    (
        "m-cat",
        "o-meadow",
        ("Tiệm Trà Mèo Ngủ Nướng", "The Sleeping-in Cat Tea House"),
        "meo-ngu-nuong",
        {"line1": "21 Dốc Mây", "city": "Đà Lạt", "floors": [{"name": "Gác mái"}, {"name": "Hiên"}]},
        (11.9404, 108.4583),
    ),
    (
        "m-leaf",
        "o-tides",
        ("Bếp Chiếc Lá Lạc Đường", "The Lost Leaf Kitchen"),
        "chiec-la-lac-duong",
        {"line1": "3 Bến Xuồng Ngủ", "city": "Cần Thơ"},
        (10.0452, 105.7469),
    ),
    (
        "m-moon",
        "o-meadow",
        ("Gốm Trăng Mẻ Miệng", "Chipped Moon Pottery"),
        "trang-me-mieng",
        {"line1": "Lò số 2, Xóm Khói", "city": "Huế"},
        None,
    ),
)

CATEGORIES: Final = (
    ("c-drinks", "m-snail", None, ("Đồ uống", "Drinks")),
    ("c-coffee", "m-snail", "c-drinks", ("Cà phê", "Coffee")),
    ("c-smoothies", "m-snail", "c-drinks", ("Sinh tố", "Smoothies")),
    ("c-sweets", "m-snail", None, ("Bánh ngọt", "Sweets")),
    ("c-tea", "m-cat", None, ("Trà", "Tea")),
    ("c-hot-tea", "m-cat", "c-tea", ("Trà nóng", "Hot tea")),
    ("c-iced-tea", "m-cat", "c-tea", ("Trà đá", "Iced tea")),
    ("c-food", "m-leaf", None, ("Món ăn", "Food")),
    ("c-banh-mi", "m-leaf", "c-food", ("Bánh mì", "Bánh mì")),
    ("c-noodles", "m-leaf", "c-food", ("Bún và mì", "Noodles")),
    ("c-pottery", "m-moon", None, ("Đồ gốm", "Pottery")),
    ("c-cups", "m-moon", "c-pottery", ("Cốc chén", "Cups")),
    ("c-vases", "m-moon", "c-pottery", ("Bình lọ", "Vases and pots")),
)

_TEAS: Final = (
    ("Trà sen", "Lotus tea"),
    ("Trà lài", "Jasmine tea"),
    ("Trà ô long", "Oolong tea"),
    ("Trà atisô", "Artichoke tea"),
    ("Trà hoa cúc", "Chrysanthemum tea"),
)

KINDS: Final = (
    Kind(
        "cf",
        "m-snail",
        "c-coffee",
        ("ly", "glass"),
        ("coffee", "cà phê"),
        (25, 55),
        (
            ("Cà phê sữa đá", "Iced milk coffee"),
            ("Cà phê đen", "Black coffee"),
            ("Bạc xỉu", "White coffee"),
            ("Cà phê muối", "Salt coffee"),
            ("Cà phê trứng", "Egg coffee"),
            ("Cà phê cốt dừa", "Coconut coffee"),
        ),
        (
            ("", ""),
            ("vị quế", "with cinnamon"),
            ("vị gừng", "with ginger"),
            ("mật ong rừng", "with forest honey"),
            ("lá dứa", "with pandan"),
        ),
    ),
    Kind(
        "sm",
        "m-snail",
        "c-smoothies",
        ("ly", "glass"),
        ("smoothie", "sinh tố", "cold"),
        (35, 60),
        (
            ("Sinh tố bơ", "Avocado smoothie"),
            ("Sinh tố xoài", "Mango smoothie"),
            ("Sinh tố mãng cầu", "Soursop smoothie"),
            ("Sinh tố dưa hấu", "Watermelon smoothie"),
            ("Sinh tố chanh dây", "Passion fruit smoothie"),
        ),
        (("", ""), ("sữa dừa", "with coconut milk"), ("sữa chua", "with yoghurt"), ("bạc hà", "with mint")),
    ),
    Kind(
        "sw",
        "m-snail",
        "c-sweets",
        ("phần", "portion"),
        ("sweet", "bánh"),
        (15, 45),
        (
            ("Bánh flan", "Caramel flan"),
            ("Bánh chuối nướng", "Baked banana cake"),
            ("Bánh bò lá dứa", "Pandan honeycomb cake"),
            ("Bánh su kem", "Cream puff"),
            ("Chè đậu xanh", "Mung bean pudding"),
        ),
        (("", ""), ("nước cốt dừa", "in coconut cream")),
    ),
    Kind(
        "th",
        "m-cat",
        "c-hot-tea",
        ("ấm", "pot"),
        ("tea", "trà", "hot"),
        (40, 95),
        _TEAS,
        (("ấm nhỏ", "(small pot)"), ("long nhãn", "with longan"), ("táo đỏ", "with red dates")),
    ),
    Kind(
        "ti",
        "m-cat",
        "c-iced-tea",
        ("ly", "glass"),
        ("tea", "trà", "cold"),
        (30, 60),
        _TEAS,
        (("đào", "with peach"), ("vải", "with lychee"), ("tắc", "with kumquat")),
    ),
    Kind(
        "bm",
        "m-leaf",
        "c-banh-mi",
        ("ổ", "loaf"),
        ("bánh mì", "sandwich"),
        (20, 50),
        (
            ("Bánh mì trứng ốp la", "Fried egg bánh mì"),
            ("Bánh mì chả cá", "Fish cake bánh mì"),
            ("Bánh mì đậu hũ sả", "Lemongrass tofu bánh mì"),
            ("Bánh mì gà nướng", "Grilled chicken bánh mì"),
            ("Bánh mì xíu mại", "Meatball bánh mì"),
            ("Bánh mì nấm", "Mushroom bánh mì"),
        ),
        (("nhỏ", "(small)"), ("ổ lớn", "(large)")),
    ),
    Kind(
        "bn",
        "m-leaf",
        "c-noodles",
        ("tô", "bowl"),
        ("noodles", "bún"),
        (40, 85),
        (
            ("Bún bò", "Beef noodle soup"),
            ("Phở gà", "Chicken phở"),
            ("Mì Quảng", "Turmeric noodles"),
            ("Hủ tiếu nấm", "Mushroom noodle soup"),
            ("Bánh canh cua", "Crab noodle soup"),
            ("Bún riêu chay", "Vegetarian tomato noodles"),
        ),
        (("ít cay", "(mild)"), ("cay", "(spicy)"), ("thêm rau", "with extra herbs")),
    ),
    Kind(
        "cu",
        "m-moon",
        "c-cups",
        ("cái", "piece"),
        ("pottery", "gốm", "gift"),
        (90, 260),
        (
            ("Cốc quai tai mèo", "Mug with a cat-ear handle"),
            ("Chén trà", "Tea bowl"),
            ("Ly không quai", "Tumbler"),
            ("Tách và đĩa", "Cup and saucer"),
        ),
        (
            ("men ngọc", "in celadon glaze"),
            ("men nâu", "in brown glaze"),
            ("men mưa bụi", "in drizzle glaze"),
            ("men hỏa biến", "in flame glaze"),
        ),
    ),
    Kind(
        "va",
        "m-moon",
        "c-vases",
        ("cái", "piece"),
        ("pottery", "gốm", "home"),
        (150, 690),
        (
            ("Bình hoa cổ cò", "Heron-neck vase"),
            ("Ấm trà bụng tròn", "Round-bellied teapot"),
            ("Hũ muối", "Salt jar"),
            ("Đĩa vảy cá", "Fish-scale plate"),
        ),
        (
            ("men ngọc", "in celadon glaze"),
            ("men lam", "in blue glaze"),
            ("men tro", "in ash glaze"),
            ("đất mộc", "(unglazed)"),
        ),
    ),
)

SLOTS: Final[dict[str, tuple[Pair, ...]]] = {
    "who": (
        ("cô bán vé số", "the lottery-ticket lady"),
        ("chú lái xuồng", "the ferryman"),
        ("bà ngoại hàng xóm", "the grandmother next door"),
        ("cậu giao báo", "the newspaper boy"),
        ("con mèo mướp", "the tabby cat"),
        ("anh thợ sửa đồng hồ", "the watchmaker"),
        ("hai chị em sinh đôi", "the twin sisters"),
        ("thầy dạy đàn tranh", "the zither teacher"),
        ("người gác hải đăng", "the lighthouse keeper"),
        ("đám học trò", "the schoolchildren"),
    ),
    "when": (
        ("Sáng sớm", "Early in the morning"),
        ("Giữa trưa", "At noon"),
        ("Khi trời vừa mưa", "When it has just begun to rain"),
        ("Tối thứ Năm", "On Thursday night"),
        ("Mùa nước nổi", "In the flood season"),
        ("Ngày rằm", "At full moon"),
        ("Lúc tan chợ", "When the market closes"),
        ("Cuối năm", "At the end of the year"),
    ),
    "does": (
        ("kể một câu chuyện dài", "tells a long story"),
        ("hát sai lời một bài cũ", "sings an old song with the wrong words"),
        ("đếm những chiếc thuyền", "counts the boats"),
        ("viết thư cho biển", "writes a letter to the sea"),
        ("vẽ mây lên khăn giấy", "draws clouds on a napkin"),
        ("ngủ quên bên cửa sổ", "falls asleep at the window"),
        ("đổi một món lấy một nụ cười", "trades a dish for a smile"),
        ("đọc thơ cho cây khế", "reads poems to the starfruit tree"),
        ("cho chim sẻ ăn", "feeds the sparrows"),
    ),
    "where": (
        ("dưới giàn hoa giấy", "under the bougainvillea"),
        ("trên gác mái", "in the attic"),
        ("ở bậc thềm", "on the doorstep"),
        ("cạnh lò gốm", "beside the kiln"),
        ("ngoài bến sông", "at the river landing"),
        ("sau quầy", "behind the counter"),
        ("trong con hẻm nhỏ", "in the little alley"),
    ),
    "taste": (
        ("thơm nhẹ", "a light scent"),
        ("hậu ngọt", "a sweet finish"),
        ("chút đắng dịu", "a gentle bitterness"),
        ("vị mằn mặn", "a hint of salt"),
        ("mùi khói bếp", "a smell of kitchen smoke"),
        ("màu như nắng chiều", "the colour of the late sun"),
        ("độ giòn vừa phải", "just enough crunch"),
    ),
    "from": (
        ("vườn trên đồi", "a garden on the hill"),
        ("chợ nổi", "the floating market"),
        ("một bếp nhỏ", "a small kitchen"),
        ("làng ven sông", "a village by the river"),
        ("tay người quen", "hands that we know"),
    ),
}

SENTENCES: Final[tuple[Pair, ...]] = (
    ("{when}, {who} {does} {where}.", "{when}, {who} {does} {where}."),
    ("Món này có {taste}, đến từ {from}.", "It has {taste} and comes from {from}."),
    ("{when}, {who} ghé qua vì {taste}.", "{when}, {who} drops in for {taste}."),
    (
        "Người ta nói {who} từng {does} {where} cả buổi.",
        "They say that {who} once {does} {where}, all afternoon.",
    ),
    ("Không ai biết vì sao {who} {does}.", "Nobody knows why {who} {does}."),
    ("Từ {from}, {who} mang về {taste}.", "From {from}, {who} brings home {taste}."),
)
