"""What words mean to a storyboard, in English and Chinese: the curated part of the vocabulary.

Names and keywords of the pictogram pack come after these tables (`vocabulary.py`). Each row maps a meaning to the words
that say it, separated by "|"; English ones by their base form ("fox", not "foxes").
"""

from framehouse.adapters.engines.previz.color import Color

BACKDROPS = {
    "street": "street|alley|crosswalk|sidewalk|road|avenue|traffic|chinatown|downtown|街|街道|街头|马路|小巷|胡同|路边|公路|斑马线",
    "city": "city|skyline|metropolis|skyscraper|town|rooftop|urban|tokyo|new york|shanghai|hong kong|paris|london|城市|都市|天际线|屋顶|楼顶|高楼|摩天大楼|上海|东京|小镇|城镇",
    "mountain": "mountain|peak|alp|cliff|valley|canyon|ridge|summit|hill|himalaya|山|山脉|雪山|山顶|山谷|悬崖|峡谷|高山|群山|山坡|山峰|山间|富士山",
    "sea": "sea|ocean|harbor|harbour|port|wave|bay|lake|river|pond|waterfall|pier|dock|seascape|海|大海|海洋|海上|湖|湖面|湖边|河|河边|江|港口|码头|海浪|池塘|江边|湖泊|瀑布",
    "beach": "beach|shore|coast|seaside|sand|island|tropical|海滩|沙滩|海边|海岸|岛|小岛|海岛",
    "forest": "forest|wood|woodland|grove|pine forest|森林|树林|林间|竹林|松林|林中|丛林深处",
    "jungle": "jungle|rainforest|swamp|雨林|热带雨林|丛林|沼泽",
    "meadow": "meadow|field|grassland|prairie|garden|park|countryside|farm|lawn|pasture|savanna|savannah|vineyard|orchard|picnic|playground|backyard|lavender field|草地|草原|花园|公园|田野|农场|乡村|草坪|花田|花海|麦田|果园|庭院|田园|院子",
    "desert": "desert|dune|sahara|wasteland|mars|wild west|沙漠|戈壁|沙丘|火星|大漠|荒漠",
    "snowfield": "snowfield|glacier|arctic|antarctica|tundra|ice field|south pole|north pole|雪地|雪原|冰川|北极|南极|冰原|雪山脚下",
    "underwater": "underwater|coral reef|reef|seabed|deep sea|aquarium|under the sea|beneath the waves|undersea|水下|海底|深海|珊瑚礁|水族馆|水中",
    "space": "space|galaxy|cosmos|universe|orbit|nebula|milky way|asteroid|outer space|planet surface|太空|宇宙|星系|银河|外太空|星云|轨道|月球",
    "sky": "sky|cloudscape|above the clouds|in the clouds|mid-air|midair|天空|云端|云海|空中|云层|高空|蓝天",
    "stage": "stage|theater|theatre|concert|opera|circus|spotlight|catwalk|runway|nightclub|舞台|剧院|剧场|演唱会|音乐会|马戏团|聚光灯|秀场|T台",
    "cafe": "cafe|café|coffee shop|restaurant|bar|diner|bistro|bakery|teahouse|pub|咖啡馆|咖啡厅|咖啡店|餐厅|酒吧|茶馆|餐馆|面包店|饭店|茶室",
    "kitchen": "kitchen|厨房|灶台",
    "library": "library|bookstore|bookshop|study|classroom|school|museum|gallery|图书馆|书店|书房|教室|学校|博物馆|画廊|书架",
    "room": "room|living room|bedroom|house interior|home|indoor|indoors|interior|office|apartment|hotel room|hall|windowsill|attic|workshop|lab|laboratory|gym|房间|客厅|卧室|室内|家里|家中|办公室|公寓|窗边|窗台|屋内|实验室|工作室|大厅|阁楼|窗前",
    "studio": "studio|product|product shot|packshot|commercial|advertisement|advert|ad|podium|pedestal|minimal background|plain background|white background|cosmetic|packaging|摄影棚|影棚|棚拍|产品|商品|广告|展台|纯色背景|白色背景|白底|产品图|电商|包装",
}  # fmt: skip

TIMES = {
    "dawn": "dawn|sunrise|daybreak|early morning|first light|日出|黎明|拂晓|清晨|破晓|晨光|晨曦",
    "day": "day|daytime|noon|midday|morning|afternoon|sunny|daylight|blue sky|sunlight|sunshine|白天|中午|正午|早晨|上午|下午|晴天|阳光|晴朗|晴空|阳光明媚|午后|早上",
    "sunset": "sunset|dusk|evening|golden hour|twilight|sundown|日落|黄昏|傍晚|夕阳|落日|晚霞|暮色|余晖",
    "night": "night|midnight|moonlight|moonlit|starry|nighttime|dark|nocturnal|moon|under the stars|star|aurora|northern lights|夜|夜晚|夜里|深夜|午夜|月光|星空|月夜|夜色|夜空|晚上|月亮|满月|极光|繁星|月下|夜景|雪夜|雨夜",
}  # fmt: skip

WEATHERS = {
    "rain": "rain|rainy|raining|drizzle|downpour|wet|shower|雨|下雨|雨天|雨中|雨夜|大雨|小雨|暴雨|细雨",
    "snow": "snow|snowy|snowing|snowfall|blizzard|雪|下雪|雪天|雪中|飘雪|大雪|雪花|暴风雪|风雪",
    "storm": "storm|stormy|thunder|lightning|thunderstorm|暴风雨|雷雨|闪电|雷电|风暴",
    "fog": "fog|foggy|mist|misty|haze|hazy|雾|大雾|薄雾|雾气|迷雾|云雾|雾中|烟雾",
    "cloudy": "cloudy|overcast|cloud|grey sky|gray sky|多云|阴天|云朵|白云|乌云",
    "rainbow": "rainbow|彩虹",
}

SEASONS = {
    "spring": "spring|springtime|cherry blossom|sakura|blossom|春|春天|春日|樱花|花开|春季",
    "summer": "summer|summertime|夏|夏天|夏日|夏季|盛夏",
    "autumn": "autumn|fall foliage|autumnal|fallen leaf|maple|golden leaf|秋|秋天|秋日|秋季|落叶|枫叶|红叶|深秋",
    "winter": "winter|wintry|frosty|frozen|icy|christmas|snow-covered|冬|冬天|冬日|冬季|圣诞|冰冻|寒冬|雪|雪地|雪夜",
}

MOODS = {
    "warm": "cozy|cosy|warm|happy|joyful|cheerful|heartwarming|festive|nostalgic|温馨|温暖|快乐|欢乐|开心|愉快|喜庆|节日|暖色|幸福",
    "cool": "sad|melancholy|melancholic|lonely|cold|calm|serene|peaceful|quiet|tranquil|悲伤|忧郁|孤独|宁静|安静|平静|冷色|寂静|寂寞",
    "dark": "scary|horror|spooky|creepy|mysterious|ominous|gothic|haunted|noir|恐怖|神秘|诡异|阴森|黑暗|哥特",
    "dreamy": "dreamy|dreamlike|magical|fantasy|fairy tale|fairytale|enchanted|whimsical|ethereal|surreal|梦幻|魔法|奇幻|童话|仙境|空灵|超现实|梦境",
    "epic": "epic|dramatic|heroic|cinematic|grand|majestic|史诗|壮丽|震撼|宏伟|电影感|壮观",
    "romantic": "romantic|love|wedding|valentine|浪漫|爱情|婚礼|情人节",
}

STYLES = {
    "watercolor": "watercolor|watercolour|water color|gouache|水彩|水彩画|水粉",
    "ink": "ink sketch|ink|sketch|pencil|pencil sketch|line art|line drawing|charcoal|pen drawing|hand-drawn|hand drawn|manga|black and white comic|素描|线稿|手绘|铅笔|铅笔画|钢笔画|线描|黑白漫画|速写|炭笔",
    "sumi": "ink wash|ink painting|sumi-e|chinese painting|shan shui|水墨|水墨画|国画|中国画|山水画",
    "blueprint": "blueprint|technical drawing|schematic|蓝图|工程图|设计图|图纸",
    "neon": "neon|cyberpunk|synthwave|vaporwave|retrowave|outrun|霓虹|赛博朋克|赛博|蒸汽波",
    "papercut": "paper cut|papercut|paper-cut|paper craft|papercraft|paper art|origami|cut paper|layered paper|剪纸|纸艺|折纸|纸雕",
    "photo": "photo|photograph|photorealistic|photo-realistic|realistic|photography|photoreal|film still|cinematic still|bokeh|dslr|35mm|写实|摄影|照片|实拍|真实感|电影剧照|逼真|超写实",
    "oil": "oil painting|oil paint|impressionist|impressionism|van gogh|monet|impasto|acrylic|油画|印象派|梵高|莫奈|厚涂",
    "comic": "comic|comic book|pop art|halftone|graphic novel|cartoon|漫画|波普|波普艺术|卡通|动漫|美漫",
    "pixel": "pixel art|pixel|8-bit|8 bit|16-bit|retro game|像素|像素风|像素画",
    "risograph": "risograph|riso|screen print|screenprint|linocut|woodcut|ukiyo-e|woodblock|vintage poster|retro poster|travel poster|版画|木刻|浮世绘|复古海报|丝网印刷|木版画",
    "mono": "black and white|black-and-white|monochrome|grayscale|greyscale|noir|黑白|单色|黑白照片",
    "sepia": "sepia|vintage photo|old photograph|daguerreotype|老照片|复古照片|怀旧照片|泛黄",
}

COLORS: dict[str, tuple[Color, str]] = {
    "red": ((222, 48, 48), "red|crimson|scarlet|ruby|红|红色|红色的|大红|朱红|赤色|深红"),
    "orange": ((244, 132, 40), "orange|tangerine|橙|橙色|橘色|橘|橘红"),
    "yellow": ((250, 204, 50), "yellow|lemon yellow|mustard|黄|黄色|明黄|淡黄|鹅黄"),
    "gold": ((226, 178, 62), "gold|golden|金|金色|金黄|黄金|鎏金"),
    "green": ((70, 166, 84), "green|emerald|olive|lime green|绿|绿色|翠绿|墨绿|碧绿|草绿"),
    "teal": ((34, 150, 156), "teal|turquoise|cyan|aqua|青|青色|青绿|蓝绿|湖蓝|孔雀蓝"),
    "blue": ((52, 112, 222), "blue|azure|navy|cobalt|indigo|蓝|蓝色|天蓝|深蓝|宝蓝|靛蓝|淡蓝|浅蓝"),
    "purple": ((136, 82, 190), "purple|violet|magenta|lilac|lavender color|紫|紫色|紫罗兰色|淡紫"),
    "pink": ((246, 140, 176), "pink|rose color|rosy|salmon|粉|粉色|粉红|粉红色|玫红|桃红|嫩粉"),
    "brown": ((136, 90, 58), "brown|chestnut|chocolate brown|棕|棕色|褐色|咖啡色|栗色"),
    "black": ((44, 44, 54), "black|jet black|黑|黑色|乌黑|漆黑"),
    "white": ((244, 244, 248), "white|ivory|snow-white|snow white|白|白色|雪白|纯白|洁白|米白"),
    "gray": ((146, 150, 160), "gray|grey|silver|chrome|steel|metallic|灰|灰色|银|银色|金属"),
    "beige": ((226, 204, 170), "beige|cream|tan|sand-colored|米色|奶油色|米黄|杏色|驼色"),
    "wood": ((168, 116, 68), "wooden|bamboo-made|木|木制|木头|木质"),
    "glass": ((176, 214, 226), "glass|crystal|transparent|ice-made|玻璃|水晶|透明|冰雕"),
    "marble": ((226, 224, 222), "marble|stone|concrete|porcelain|ceramic|大理石|石头|石|瓷|陶瓷"),
    "copper": ((190, 112, 76), "copper|bronze|rusty|terracotta|clay|铜|青铜|生锈|陶土|陶"),
}  # fmt: skip

PASTEL = "pastel|soft colors|muted|粉彩|马卡龙|柔和|淡雅"
VIVID = "vivid|vibrant|colorful|colourful|saturated|bright colors|鲜艳|多彩|缤纷|五彩|彩色|五颜六色"

SIZES = {
    "1.45": "giant|huge|enormous|gigantic|massive|colossal|towering|巨大|巨型|庞大|超大|巨",
    "1.2": "big|large|tall|great|大|大型|高大|高",
    "0.68": "small|little|short|小|小小|小型|矮",
    "0.5": "tiny|mini|miniature|minuscule|baby|微小|迷你|袖珍|小巧|微型",
}

NUMBERS = {
    "1": "a|an|one|1|single|lone|一|单",
    "2": "two|2|couple of|pair of|a pair of|a couple of|twin|both|两|二|俩|一对|双",
    "3": "three|3|trio of|a trio of|三|仨",
    "4": "four|4|四",
    "5": "five|5|五|several|some|a few|a group of|group of|几|一群|一些|几个|群|一排|many|许多|很多|flock of|a flock of|herd of|a herd of|crowd of|a crowd of|a pack of|pack of|众多|无数",
    "6": "six|6|六|half a dozen",
    "7": "seven|7|七",
    "8": "eight|8|八",
    "9": "nine|9|九|ten|10|十|dozen|a dozen",
}  # fmt: skip

RELATIONS = {
    "riding": "riding|rides|ride|driving|drives|rides on|riding on|steering|piloting|on the back of|骑着|骑在|骑|驾驶|开着|乘坐|乘着|坐着",
    "on": "on|on top of|upon|atop|sitting on|standing on|perched on|lying on|sits on|sleeping on|stands on|resting on|over|above|坐在|站在|趴在|躺在|放在|上面|之上|停在|立在",
    "under": "under|beneath|below|underneath|sitting under|standing under|下面|之下|底下",
    "in": "in|inside|within|sitting in|peeking out of|out of|emerging from|里|里面|中|内|装在|藏在",
    "beside": "beside|next to|by|near|alongside|and|with|along|旁|旁边|和|与|跟|挨着|身旁|身边",
    "holding": "holding|holds|carrying|carries|wielding|playing|plays|eating|eats|drinking|drinks|reading|reads|using|wearing|wears|with a|grabbing|hugging|拿着|抱着|手持|握着|举着|捧着|弹|弹着|吃|吃着|喝|喝着|读|看着|戴着|打着|撑着|提着|穿着|拉着|手握",
    "front": "in front of|before|ahead of|looking at|watching|facing|chasing|面前|前面|前|看着|望着|追|追着|追逐",
    "behind": "behind|hiding behind|后面|背后|身后|之后|后",
}  # fmt: skip

NEGATIONS = "no|without|not|avoid|free of|never|don't|do not|exclude|没有|无|不要|不含|不带|避免|去掉|禁止"
PEOPLE_WORDS = "people|person|human|man|woman|crowd|face|pedestrian|人|人物|行人|人类|路人|人群"

FRAMINGS = {
    "wide shot": "wide shot|wide-angle|wide angle|establishing shot|long shot|panorama|panoramic|landscape view|full shot|远景|全景|广角|大远景|全身",
    "medium shot": "medium shot|mid shot|waist up|half-body|中景|半身|中近景",
    "close-up": "close-up|close up|closeup|macro|portrait of|extreme close-up|headshot|detail shot|detail of|特写|近景|微距|大特写|细节|肖像",
    "over-the-shoulder shot": "over-the-shoulder|over the shoulder|过肩|越肩",
    "low angle": "low angle|low-angle|worm's-eye|from below|looking up|仰拍|低角度|仰视|低机位",
    "top view": "top view|top-down|overhead|bird's-eye|birds-eye|bird's eye|aerial|flat lay|flatlay|drone shot|from above|俯拍|俯视|鸟瞰|航拍|顶视|俯瞰|平铺",
}  # fmt: skip

# What the pack's own names and keywords get wrong, or lack. "-" means: a word that is never drawn and never missed.
ALIASES = {
    "woman": "woman|lady|female|mother|mom|mum|wife|girlfriend|housewife|actress|女人|女士|女性|妈妈|母亲|女子|妇女|女孩子|美女|少妇|阿姨",
    "man,woman": "couple|newlyweds|bride and groom|lovers|夫妻|情侣|恋人|夫妇|新人",
    "man,woman,child": "family|parents|家庭|一家人|家人|一家三口",
    "man": "man|guy|gentleman|male|father|dad|husband|boyfriend|dude|actor|男人|男士|男性|爸爸|父亲|男子|先生|大叔|叔叔|帅哥",
    "girl": "girl|daughter|schoolgirl|女孩|少女|小女孩|姑娘|女生|小姑娘|女儿",
    "boy": "boy|son|schoolboy|男孩|少年|小男孩|男生|儿子|小男生",
    "child": "child|kid|children|toddler|孩子|小孩|儿童|小朋友|孩童",
    "person": "person|human|people|character|figure|hero|heroine|protagonist|pedestrian|traveler|traveller|tourist|customer|model|friend|neighbor|somebody|人|人物|角色|主角|行人|旅人|游客|顾客|路人|模特|朋友",
    "person+": "fisherman|sailor|waiter|waitress|barista|driver|musician|guitarist|pianist|violinist|photographer|shepherd|hunter|blacksmith|carpenter|tailor|writer|poet|explorer|adventurer|viking|pirate|cowboy|cowgirl|archer|athlete|gymnast|boxer|tennis player|football player|basketball player|skateboarder|dj|librarian|shopkeeper|vendor|postman|mailman|nomad|warlord|渔夫|渔民|水手|服务员|咖啡师|司机|音乐家|吉他手|钢琴家|摄影师|牧羊人|猎人|铁匠|木匠|裁缝|作家|诗人|探险家|海盗|牛仔|运动员|邮递员|书生|老板娘|樵夫|将军|道士|仙人",
    "old-man": "old man|grandfather|grandpa|elderly man|老人|老爷爷|爷爷|老头|老汉|外公",
    "old-woman": "old woman|grandmother|grandma|granny|elderly woman|old lady|奶奶|老奶奶|老太太|外婆|姥姥",
    "baby": "baby|infant|newborn|婴儿|宝宝|娃娃",
    "astronaut": "astronaut|cosmonaut|spaceman|space traveler|宇航员|航天员|太空人",
    "cook": "chef|cook|baker|厨师|大厨|面包师",
    "artist": "artist|painter|画家|艺术家",
    "farmer": "farmer|gardener|peasant|农民|农夫|园丁",
    "detective": "detective|spy|sherlock|investigator|侦探|特工|间谍",
    "scientist": "scientist|chemist|researcher|科学家|研究员",
    "health-worker": "doctor|nurse|physician|surgeon|medic|医生|护士|大夫",
    "police-officer": "police officer|policeman|cop|policewoman|officer|警察|民警",
    "firefighter": "firefighter|fireman|消防员",
    "construction-worker": "builder|construction worker|engineer|worker|工人|建筑工人|工程师",
    "pilot": "pilot|captain|飞行员|船长|机长",
    "teacher": "teacher|professor|老师|教师|教授",
    "student": "student|graduate|pupil|学生|毕业生|同学",
    "technologist": "programmer|developer|hacker|coder|程序员|黑客|开发者",
    "office-worker": "businessman|businesswoman|manager|boss|office worker|clerk|ceo|商人|经理|老板|白领|上班族|职员",
    "judge": "judge|lawyer|法官|律师",
    "mechanic": "mechanic|repairman|plumber|技工|修理工",
    "guard": "guard|soldier|sentry|warrior|卫兵|士兵|战士|军人",
    "ninja": "ninja|samurai|assassin|shinobi|忍者|武士|侠客|剑客|刺客|侠",
    "singer": "singer|rock star|rockstar|idol|歌手|摇滚歌手|偶像|歌星",
    "prince": "prince|王子",
    "princess": "princess|queen|empress|公主|女王|皇后|王后|女皇",
    "person-with-crown": "king|emperor|monarch|国王|皇帝|君主",
    "person-mage": "wizard|mage|sorcerer|magician|witch|warlock|merlin|巫师|魔法师|女巫|法师|魔术师|巫婆",
    "person-fairy": "fairy|pixie|仙女|精灵仙子|仙子",
    "person-elf": "elf|精灵",
    "woman-merpeople": "mermaid|merman|美人鱼|人鱼",
    "person-vampire": "vampire|dracula|吸血鬼",
    "person-zombie": "zombie|undead|僵尸|丧尸",
    "person-superhero": "superhero|superwoman|superman|超级英雄|超人",
    "person-supervillain": "villain|supervillain|反派",
    "baby-angel": "angel|cherub|天使",
    "person-with-veil": "bride|新娘",
    "person-in-tuxedo": "groom|bridegroom|butler|新郎|管家",
    "woman-dancing": "dancer|ballerina|woman dancing|dancing woman|舞者|舞蹈演员|跳舞的女人|芭蕾舞者",
    "man-dancing": "man dancing|dancing man|跳舞的男人",
    "person-running": "runner|jogger|person running|sprinter|跑步者|跑者|跑步的人",
    "person-walking": "walker|hiker|passerby|person walking|backpacker|徒步者|背包客",
    "person-biking": "cyclist|biker|骑行者|骑手|自行车手",
    "person-surfing": "surfer|冲浪者|冲浪手|冲浪的人",
    "person-swimming": "swimmer|游泳者|游泳运动员",
    "person-rowing-boat": "rower|划船的人",
    "person-climbing": "climber|mountaineer|登山者|攀岩者|登山客",
    "person-in-lotus-position": "yogi|monk|meditating person|yoga|meditator|瑜伽|打坐的人|僧人|和尚",
    "person-juggling": "juggler|clown|小丑|杂耍艺人",
    "skier": "skier|滑雪者",
    "snowboarder": "snowboarder|单板滑雪者",
    "person-fencing": "fencer|击剑手",
    "basketball": "basketball|篮球",
    "soccer-ball": "ball|football|soccer ball|soccer|球|足球|皮球",
    "santa-claus": "santa|santa claus|father christmas|圣诞老人",
    "troll": "ogre|troll|goblin|orc|巨魔|哥布林|食人魔|兽人",
    "knight": "knight|paladin|gladiator|crusader|骑士|圣骑士",
    "perfume": "perfume|perfume bottle|fragrance|cologne|香水|香水瓶",
    "lighthouse": "lighthouse|灯塔",
    "robot": "robot|android|cyborg|droid|mech|机器人|机甲",
    "alien": "alien|extraterrestrial|martian|外星人",
    "ghost": "ghost|spirit|phantom|鬼|幽灵|鬼魂",
    "skull": "skull|skeleton|头骨|骷髅",
    "ogre": "demon|oni|妖怪",
    "dog": "dog|dogs|hound|corgi|labrador|golden retriever|retriever|shiba|husky|beagle|dachshund|terrier|bulldog|狗|小狗|狗狗|犬|柯基|金毛|柴犬|哈士奇|泰迪|拉布拉多|狗子",
    "dog-face": "puppy|pup|幼犬|小奶狗",
    "cat": "cat|kitty|tabby|kitten|猫|小猫|猫咪|猫猫|橘猫|喵星人|大猫|猫儿",
    "black-cat": "black cat|黑猫",
    "rabbit": "rabbit|bunny|hare|兔子|兔|小兔子|白兔|小兔|野兔",
    "bear": "bear|grizzly|grizzly bear|熊|棕熊|小熊|灰熊|大熊",
    "polar-bear": "polar bear|北极熊",
    "panda": "panda|giant panda|熊猫|大熊猫",
    "tiger": "tiger|老虎|虎",
    "horse": "horse|pony|stallion|mare|foal|马|骏马|白马|小马|马儿|战马",
    "unicorn": "unicorn|pegasus|独角兽|飞马",
    "cow": "cow|cattle|calf|奶牛|牛|母牛|小牛",
    "ox": "ox|bull|公牛|水牛",
    "pig": "pig|piglet|hog|猪|小猪",
    "ewe": "sheep|lamb|绵羊|羊|小羊|羊羔|羊群",
    "goat": "goat|山羊",
    "monkey": "monkey|chimp|chimpanzee|猴子|猴|小猴",
    "mouse": "mouse|mice|rat|老鼠|小老鼠|鼠",
    "deer": "deer|reindeer|stag|fawn|doe|elk|鹿|小鹿|驯鹿|梅花鹿",
    "wolf": "wolf|werewolf|coyote|狼|野狼|狼人",
    "chicken": "hen|母鸡",
    "rooster": "rooster|cock|公鸡|大公鸡",
    "baby-chick": "chick|小鸡",
    "bird": "bird|sparrow|robin|songbird|hummingbird|seagull|gull|pigeon|finch|鸟|小鸟|麻雀|鸟儿|海鸥|候鸟",
    "blackbird": "crow|raven|blackbird|乌鸦",
    "eagle": "eagle|hawk|falcon|鹰|老鹰|雄鹰|猎鹰",
    "duck": "duck|duckling|mallard|鸭子|鸭|小鸭子|小鸭",
    "fish": "fish|goldfish|koi|salmon|trout|carp|鱼|金鱼|锦鲤|小鱼|鲤鱼|鱼群",
    "tropical-fish": "tropical fish|clownfish|热带鱼|小丑鱼",
    "spouting-whale": "whale|鲸鱼|鲸|蓝鲸",
    "turtle": "turtle|tortoise|乌龟|海龟|龟",
    "t-rex": "dinosaur|t-rex|tyrannosaurus|trex|恐龙|霸王龙|暴龙",
    "dragon": "dragon|wyvern|龙|巨龙|飞龙|神龙",
    "phoenix-bird": "phoenix|凤凰",
    "snail": "snail|蜗牛",
    "honeybee": "bee|bumblebee|蜜蜂",
    "butterfly": "butterfly|moth|蝴蝶|飞蛾",
    "lady-beetle": "ladybug|ladybird|瓢虫",
    "spider": "spider|蜘蛛",
    "rose": "rose|玫瑰|玫瑰花|红玫瑰",
    "sunflower": "sunflower|向日葵|葵花",
    "tulip": "tulip|郁金香",
    "blossom": "flower|wildflower|daisy|poppy|花|花朵|鲜花|小花|野花|雏菊|花儿",
    "bouquet": "bouquet|flowers|花束|一束花",
    "lotus": "lotus|water lily|莲花|荷花",
    "deciduous-tree": "tree|oak|apple tree|maple tree|willow|树|大树|橡树|苹果树|柳树|老树|树木|古树",
    "evergreen-tree": "pine|pine tree|fir|spruce|evergreen|conifer|松树|杉树|圣诞松|针叶树",
    "palm-tree": "palm|palm tree|coconut tree|棕榈树|椰子树|椰树",
    "christmas-tree": "christmas tree|圣诞树",
    "potted-plant": "plant|houseplant|potted plant|bonsai|fern|植物|盆栽|绿植|盆景",
    "seedling": "seedling|sprout|sapling|seed|嫩芽|幼苗|种子|小苗|新芽",
    "cactus": "cactus|succulent|仙人掌|多肉",
    "mushroom": "mushroom|toadstool|蘑菇",
    "automobile": "car|sedan|automobile|auto|hatchback|汽车|轿车|小汽车|车|小轿车",
    "racing-car": "sports car|race car|racing car|supercar|formula one|f1 car|convertible|跑车|赛车|超跑",
    "sport-utility-vehicle": "suv|jeep|off-roader|越野车|吉普车",
    "pickup-truck": "pickup|pickup truck|皮卡",
    "delivery-truck": "truck|lorry|van|food truck|卡车|货车|面包车",
    "taxi": "taxi|cab|出租车|的士",
    "bus": "bus|school bus|coach|公交车|巴士|公共汽车|大巴|校车",
    "motorcycle": "motorcycle|motorbike|harley|摩托车|机车|摩托",
    "motor-scooter": "scooter|vespa|moped|电动车|踏板车|小电驴",
    "kick-scooter": "kick scooter|滑板车",
    "bicycle": "bicycle|bike|cycle|自行车|单车|脚踏车",
    "skateboard": "skateboard|滑板",
    "locomotive": "train|steam train|locomotive|steam engine|railway|火车|蒸汽火车|列车|老火车",
    "bullet-train": "bullet train|high-speed train|高铁|动车|子弹头列车",
    "tram": "tram|streetcar|trolley|subway|metro|电车|有轨电车|地铁",
    "airplane": "airplane|plane|aeroplane|aircraft|jet|airliner|飞机|客机|喷气机",
    "helicopter": "helicopter|chopper|直升机",
    "rocket": "rocket|spaceship|spacecraft|space shuttle|starship|火箭|飞船|宇宙飞船|航天飞机|太空船",
    "flying-saucer": "ufo|flying saucer|飞碟|不明飞行物",
    "sailboat": "sailboat|boat|yacht|sailing boat|sailing ship|船|帆船|小船|游艇|扁舟|小舟",
    "canoe": "canoe|kayak|rowboat|gondola|独木舟|皮划艇|竹筏|木筏",
    "ship": "ship|cruise ship|freighter|vessel|pirate ship|轮船|邮轮|大船|货轮|海盗船",
    "submarine": "submarine|潜水艇|潜艇",
    "balloon": "balloon|气球",
    "hot-air-balloon": "hot air balloon|hot-air balloon|热气球",
    "parachute": "parachute|降落伞",
    "house": "house|cottage|villa|bungalow|farmhouse|房子|小屋|房屋|别墅|屋子|民居",
    "hut": "hut|cabin|log cabin|shack|treehouse|小木屋|木屋|茅屋|草屋|棚屋",
    "castle": "castle|fortress|palace|citadel|城堡|宫殿|堡垒|皇宫",
    "japanese-castle": "pagoda|temple|japanese castle|shrine|塔|寺庙|宝塔|古塔|庙|古寺|日式城堡",
    "church": "church|chapel|cathedral|abbey|教堂|大教堂",
    "office-building": "building|tower block|skyscraper building|大楼|大厦|建筑|楼房|写字楼",
    "tokyo-tower": "tower|eiffel tower|tokyo tower|铁塔|埃菲尔铁塔|东京塔|高塔",
    "bridge-at-night": "bridge|桥|大桥|石桥|拱桥",
    "tent": "tent|帐篷|露营",
    "circus-tent": "circus tent|big top",
    "ferris-wheel": "ferris wheel|摩天轮",
    "carousel-horse": "carousel|merry-go-round|旋转木马",
    "shinto-shrine": "torii|torii gate|鸟居|神社",
    "classical-building": "greek temple|museum building|parthenon|神庙|古建筑",
    "fire": "fire|campfire|bonfire|flame|火|篝火|火焰|营火|火堆|烈火",
    "volcano": "volcano|火山",
    "rock": "rock|boulder|stone block|岩石|石块|巨石|礁石",
    "lotion-bottle": "bottle|lotion|shampoo|cosmetic bottle|skincare|serum|product bottle|cream|toner|瓶子|护肤品|化妆品|洗发水|乳液|精华液|面霜|沐浴露",
    "lipstick": "lipstick|口红|唇膏",
    "wine-glass": "wine|wine glass|glass of wine|红酒|葡萄酒|酒杯|红酒杯",
    "bottle-with-popping-cork": "champagne|wine bottle|champagne bottle|香槟|酒瓶",
    "beer-mug": "beer|pint|啤酒",
    "cocktail-glass": "cocktail|martini|鸡尾酒",
    "cup-with-straw": "soda|juice|soft drink|bubble tea|iced tea|milkshake|smoothie|饮料|果汁|汽水|可乐|奶昔",
    "bubble-tea": "boba|bubble tea|奶茶|珍珠奶茶",
    "hot-beverage": "coffee|cup|mug|tea|latte|espresso|cappuccino|cup of coffee|cup of tea|coffee cup|coffee mug|hot chocolate|咖啡|杯子|茶|一杯咖啡|热茶|马克杯|咖啡杯|热咖啡|拿铁|热可可",
    "teapot": "teapot|kettle|茶壶|水壶",
    "glass-of-milk": "milk|牛奶",
    "birthday-cake": "cake|birthday cake|蛋糕|生日蛋糕",
    "shortcake": "slice of cake|strawberry cake|cheesecake|草莓蛋糕|芝士蛋糕",
    "red-apple": "apple|苹果|红苹果",
    "green-apple": "green apple|青苹果",
    "grapes": "grape|葡萄",
    "watermelon": "watermelon|西瓜",
    "tangerine": "tangerine fruit|mandarin|orange fruit|oranges|橘子|橙子|柑橘",
    "strawberry": "strawberry|草莓",
    "steaming-bowl": "noodle|ramen|noodles|soup|bowl of noodles|bowl|面条|拉面|汤|面|碗|牛肉面",
    "cooked-rice": "rice|bowl of rice|米饭|饭",
    "dumpling": "dumpling|饺子|包子|小笼包|馄饨",
    "sushi": "sushi|寿司",
    "bread": "bread|loaf|toast|面包|吐司",
    "hamburger": "burger|hamburger|cheeseburger|汉堡|汉堡包",
    "pizza": "pizza|披萨|比萨",
    "soft-ice-cream": "ice cream|ice cream cone|gelato|冰淇淋|冰激凌|甜筒",
    "mobile-phone": "phone|smartphone|mobile phone|cellphone|iphone|手机|智能手机|电话",
    "laptop": "laptop|notebook computer|macbook|笔记本电脑|笔记本",
    "desktop-computer": "computer|monitor|pc|screen|电脑|计算机|显示器|屏幕",
    "headphone": "headphone|headphones|headset|earphone|earbud|earbuds|耳机",
    "watch": "watch|wristwatch|smartwatch|手表|腕表|智能手表",
    "alarm-clock": "alarm clock|clock|闹钟|钟|时钟",
    "camera": "camera|相机|照相机|摄像机",
    "guitar": "guitar|ukulele|吉他|尤克里里",
    "musical-keyboard": "piano|keyboard instrument|synthesizer|钢琴|电子琴|琴",
    "violin": "violin|cello|fiddle|小提琴|大提琴|二胡",
    "drum": "drum|鼓",
    "trumpet": "trumpet|小号|喇叭",
    "saxophone": "saxophone|sax|萨克斯",
    "microphone": "microphone|mic|麦克风|话筒",
    "running-shoe": "shoe|sneaker|sneakers|running shoe|trainer|trainers|运动鞋|鞋子|鞋|球鞋|跑鞋|球鞋",
    "high-heeled-shoe": "high heel|high heels|heels|stiletto|高跟鞋",
    "hiking-boot": "boot|boots|hiking boot|靴子|登山靴",
    "handbag": "bag|handbag|tote|tote bag|purse|包|手提包|包包|皮包|女包",
    "backpack": "backpack|rucksack|schoolbag|背包|书包",
    "luggage": "suitcase|luggage|行李箱|旅行箱|箱子",
    "glasses": "glasses|spectacles|eyeglasses|眼镜",
    "sunglasses": "sunglasses|shades|墨镜|太阳镜",
    "top-hat": "hat|top hat|帽子|礼帽",
    "billed-cap": "cap|baseball cap|棒球帽|鸭舌帽",
    "crown": "crown|tiara|王冠|皇冠",
    "ring": "ring|engagement ring|wedding ring|戒指|钻戒",
    "gem-stone": "diamond|gem|jewel|gemstone|钻石|宝石",
    "dress": "dress|gown|skirt|裙子|连衣裙|礼服|长裙",
    "t-shirt": "t-shirt|shirt|tee|T恤|衬衫|上衣",
    "coat": "coat|jacket|hoodie|外套|大衣|夹克",
    "scarf": "scarf|围巾",
    "umbrella": "umbrella|雨伞|伞|油纸伞",
    "umbrella-on-ground": "beach umbrella|parasol|遮阳伞",
    "couch-and-lamp": "sofa|couch|lamp|沙发|台灯|落地灯",
    "chair": "chair|armchair|stool|bench|椅子|凳子|长椅|扶手椅",
    "bed": "bed|床",
    "bathtub": "bathtub|bath|浴缸",
    "light-bulb": "light bulb|lightbulb|bulb|灯泡",
    "candle": "candle|蜡烛",
    "red-paper-lantern": "lantern|paper lantern|灯笼|红灯笼|孔明灯",
    "open-book": "book|open book|novel|storybook|书|书本|书籍|一本书",
    "books": "books|stack of books|一摞书|书堆",
    "newspaper": "newspaper|报纸",
    "love-letter": "love letter|情书",
    "envelope": "letter|envelope|mail|信|信封|信件",
    "package": "box|package|parcel|cardboard box|crate|盒子|纸箱|包裹|箱|礼盒",
    "wrapped-gift": "gift|present|gift box|礼物|礼品|礼物盒",
    "basket": "basket|篮子|竹篮",
    "crossed-swords": "swords|sabers|双剑",
    "dagger": "sword|blade|dagger|katana|knife|剑|宝剑|匕首|长剑|武士刀|刀",
    "shield": "shield|盾|盾牌",
    "bow-and-arrow": "bow|arrow|bow and arrow|弓箭|弓",
    "key": "key|钥匙",
    "old-key": "old key|antique key|古老的钥匙",
    "coin": "coin|money|金币|硬币|钱币",
    "telescope": "telescope|望远镜",
    "globe-showing-europe-africa": "earth|globe|world|planet earth|地球|地球仪",
    "ringed-planet": "planet|saturn|行星|土星|星球",
    "satellite": "satellite|space station|卫星|空间站",
    "teddy-bear": "teddy bear|teddy|plush|stuffed bear|plush toy|toy|泰迪熊|毛绒玩具|玩具|玩具熊",
    "kite": "kite|风筝",
    "snowman": "snowman|雪人",
    "jack-o-lantern": "pumpkin|jack-o'-lantern|halloween pumpkin|南瓜|南瓜灯",
    "magnifying-glass-tilted-left": "magnifying glass|放大镜",
    "amphora": "vase|jar|pot|pottery|urn|花瓶|陶罐|罐子|瓷瓶|瓷器|瓦罐|壶",
    "chess-pawn": "chess|chess piece|国际象棋|棋子",
    "swan": "swan|天鹅",
    "penguin": "penguin|企鹅",
    "trophy": "trophy|award|奖杯",
    "scroll": "scroll|map|treasure map|卷轴|地图|藏宝图",
    "paintbrush": "paintbrush|brush|画笔|毛笔",
    "anchor": "anchor|锚",
    "wheel": "wheel|轮子|车轮",
    "door": "door|门|大门",
    "window": "window|窗户|窗",
    "mirror": "mirror|镜子",
    "egg": "egg|鸡蛋|蛋",
    "cheese-wedge": "cheese|奶酪|芝士",
    "popcorn": "popcorn|爆米花",
    "bone": "bone|骨头",
    "feather": "feather|quill|羽毛",
    "nest-with-eggs": "nest|鸟巢",
    "shopping-cart": "shopping cart|trolley cart|购物车",
    "fishing-pole": "fishing rod|fishing pole|鱼竿|钓鱼竿",
    "wood": "log|timber|firewood|原木|木桩",
    "motor-boat": "motorboat|speedboat|快艇|摩托艇",
    "leaf-fluttering-in-wind": "leaf|叶子|树叶|叶片",
}  # fmt: skip

# Words that name nothing to draw. English: function words, camera and craft words, adjectives, verbs by their stems.
STOP = set(
    """
    the this that these those its it he she they them his her their our my your we you i me us him who which what whose where
    when while as at of to from for into onto through across around between among against toward towards up down off out about
    like than then there here so too very just only also both each every any all more most much such own other another same
    is are was were be been being am has have had do does did can could will would shall should may might must let lets
    and or but nor with without within
    image picture photo photograph photography illustration drawing painting scene frame panel shot series storyboard set view
    render rendering artwork art style styled aesthetic composition background foreground backdrop subject camera lens lighting
    light lit shadow shadows color colors colour colours tone tones palette texture detail details detailed quality resolution
    merge combine blend replace change convert swap remove edit keep apply imagine visualize render please mend howl bark purr roar sniff
    howling mending stroll graze nap yawn stretch balance juggle race chase climb dive leap hop bounce slide skate ski surf row paddle
    create make draw paint generate show shows showing depict depicts design designed turn put place placed add include
    featuring featured contain contains containing using use based inspired depicting image_list element
    high low ultra hd 4k 8k best masterpiece beautiful stunning gorgeous amazing elegant simple minimal minimalist modern classic
    vintage retro futuristic ancient old new young cute adorable lovely nice pretty clean fresh soft bright dark glowing shiny
    matte glossy fluffy furry hairy sleepy angry happy sad curious brave lonely busy quiet empty full open closed deep wide tall
    long short narrow thick thin round square flat sharp smooth rough wet dry hot cold warm cool fast slow strong gentle wild tame
    magic magical mysterious giant main final first second third fourth fifth next last left right center middle top bottom front
    back side corner end start beginning moment time way thing something everything nothing lot bit piece part kind sort type
    vertical horizontal portrait landscape square cinematic widescreen wallpaper poster banner cover aspect ratio format
    cat's dog's
    sit stand lie lay sleep walk run jump fly swim climb ride drive hold carry look watch stare gaze smile laugh cry eat drink
    cook bake read write sing dance play fight chase hide peek wait rest relax enjoy hug kiss wave point reach throw catch kick
    hit push pull lift drop fall rise grow bloom shine glow burn float drift sail travel explore wander visit meet talk speak
    whisper shout listen hear see find lose give take bring send keep hang lean kneel bow crawl roll spin turn open close wear
    dress sits stands lies sleeps walks runs jumps flies swims climbs looks watches hunts hunt lands land learns learn wakes wake
    work works working day's surround surrounded cover covered fill filled decorate decorated tell tells say says get gets go goes
    come comes become becomes begin begins stop stops leave leaves try tries help helps build builds make makes made plays chases
    happily quickly slowly gently softly quietly brightly together alone apart away home again still always never ever already
    forward backward inside outside upstairs downstairs everywhere somewhere
    hand hands arm arms eye eyes hair head foot feet leg legs finger body face smile tail wing wings fur skin
    name named called story tale adventure journey life living dream dreams memory hope joy peace love idea concept theme mood
    vibe atmosphere feeling emotion energy motion action pose posture gesture expression look feel touch sense
    surface floor wall ceiling ground table desk shelf air wind breeze water ice snow sun sunlight moonlight sky horizon distance
    drop drops splash reflection reflections sparkle sparkles smoke steam dust bokeh blur grain ray rays beam beams
    step process stage level version variation edition brand logo text title label caption word words letter number numbers
    launch campaign advertising marketing promo promotional hero lifestyle social media post content
    beautifully highly extremely super really quite almost nearly
    ready late early big bigger biggest small smaller smallest large larger giant's size sized
    wooden golden silver metal metallic plastic leather cotton silk woolen denim velvet
    striped dotted spotted checkered floral patterned plain
    chinese japanese american european french italian indian african asian western eastern northern southern traditional
    """.split()
)
NOT_NAMES = set(
    """
    1st 2nd 3rd calculation squeeze adhesive arriving landing check-in alarm hrs waiting chemistry tool gamer pixelated emergency
    aquarius articulated move semi artsy arty creative tuk chop split goo birth born backpacking honey pester balance libra
    birthday celebrate potassium music stringed data sport hoop farming kidney growl dam break forbidden prohibited class cycling
    gang spinning pool bent billed ornithology feline meow unlucky beak caw dangerous explosion mark rebound repercussion popping
    anniversary archery sagittarius strike carb grandson breast feeding nursing breaking broken cuff freedom cleaning sweeping spore
    topping vegetarian burp floating direct target wrap drought date hump snap cavity canned trim vegetable downward trend upward
    market dupe expendable bright-eyed younger grandchild bless christian cross smoking compress vice classical alcohol cheer clink
    clinking list education weather club brr pest booze colada dead death dollar rich direction magnetic navigation orienteering
    optical party woohoo barrier fix rebuild remodel control hour convenience cooked chip easy frying change climate moo zodiac
    cancer charge pay orthoptera zoo crossed medieval disability hurt injured mobility future pickle malt sprinkle sugar treat
    curling sweet shedding deciduous habitat animal delivery department derelict flipper stubborn mule dressed fancy bleed
    donation injury menstruation sweat tear crop breakfast electricity accessibility hoist eleven outgoing assembly industrial
    fallen fax flight amusement ferris filing cinema boom yolo spark extinguish quench litaf quarter dinner pisce golf flamboyant
    comfy disease rotting marching orchestra band recorder pipe flying ultimate extra terrestrial clack clap cooling flirt folding
    shy melted breaky delicious lunch yum yummy fortune prophecy four-leaf lucky framed fried front-facing gas diesel ash funeral
    flavoring engagement boo haunting natural spice spot granddaughter virgo asia africa europe internet worldwide glittery shining
    goal capricorn mean dive protection welding silly flock gaggle honk scholar dionysus buckingham guide strat repair improvement
    fatima mary miriam protect pet hatching sound memorial rip health healthcare spiny roflcopter fashion high-heeled high-speed
    speed danger zap hiking hindu crook curve ensnare selling intersection signal medicine caffeine steaming flowing country ranch
    settle suburban suburbia shelter shrub security delivering incoming receive zero jack casual weekend invertebrate jelly marine
    ouch plankton sting wildcard justice law clothing comfortable hajj umrah major password soar tangled twist stick rung personal
    flutter blow fluttering garnish refreshing tangy zest acidity linked predator alpha leo mane order rawr roar sour seafood safari
    lock private secure privacy caboose beat rhythm loud public address electronic power drained low packing attraction negative
    positive shape left-pointing search tilted magnifying right-pointing extinction wooly tusk bro flair groove oberon neptune man'
    falling manual shake rattle cha martial science military army war experiment glitter cell mobile call bet cost paid paying million
    festival viewing mammal bite fever malaria motor motorized mount trip bait lure record holiday merry xma mrs silent mute musical
    national charm tie employed serious russia news skill hidden secret fighter stealth decorative writing creature cubical job oil
    clue bald elderly drove police oncoming hail bathing one-piece knowledge lowered raised fishing playful sent wise taurus pearl
    diving shipping document communication hang-glide awesome hooray tada passenger performing thespian adult excited active
    championship dribble player bouncing enchantment myth feed parlor shear getting headache relaxing soothe tension therapy
    treatment caddy pga putt range bedtime goodnight nap tired legged meditation zen luxurious pamper unwind business formal
    act balancing manage multitask juggle knee lifting summon spell folklore chuck hurl lob pitch toss row hurry marathon quick race
    rush good superpower bad criminal evil swell freestyle triathlon taking supernatural amble gait hike pace stride stroll bestie
    bff counterpart double identical pair partying soulmate twinsy royal royalty noble regal gua guapi mao combat duel grapple
    tournament wrestle apocalypse biology culture ascension emerge glory immortal rebirth reincarnation reinvent renewal revival
    revive transform cinco mayo mining transportation filling smell pile smh smelly stinky drug medicated sick hungry demonstration
    notice protest sliding force suction alert revolving apprehend arrest citation pulled undercover movie pop postal decor nurturing
    potted billion pound accident oop pour pouring spill prayer belly bloated overeat convoluted twisted interlocking sly zoom
    entertainment tbt gay genderqueer glbt glbtq lesbian lgbt lgbtq lgbtqia pride queer tran transgender ary shave accounting
    bookkeeping evidence proof diet ripe lai luck reminder rescue worker' aid celebration engaged married sparkling saver save ringed
    saturnine roasted heavy solid tough rolled rolled-up location athletic running punk safety resort sailing flavor mad salty taste
    upset bundle neck cut cutting assistance service thirty handy surgery tailoring suture shallow irish shaved sheaf weapon religion
    shooting shopping slice entertainer stink gamble gambling lazy bearer ophiuchus ugly underarm medium billionaire luxury
    millionaire absorbing porous soak recreational utility winner spouting astronomy nyc york heart octagonal angle edge math
    straight outdoor heat nature suspension rex mexican wrapped brew tear-off stuffed video contact test flip flop admission dental
    hygiene arrived choo rule trolling win slay victory winning drunk mai tai tropic instrument growth gobble thanksgiving twelve
    two-hump unlock cracked controller indecisive iron waning waxing garbage waste circle blind probing dying wilted opening ascend
    angelic aviation heavenly mythology romance hitched collar woman' parasite surprise medical crochet knit fluctuate let' fatigue
    weightlifter workout barbell cosmetology salon snapdragon stomach extraterrestrial serve gy doo dung fml turd poop smh
    """.split()
)
"""Keywords of the pack that go along with a thing and do not name it: "unlucky" is no cat."""
STOP_CHINESE = set(
    """
    的 了 着 地 得 在 是 有 和 与 及 或 被 把 让 给 向 往 从 到 对 为 以 于 之 其 这 那 它 他 她 我 你 们 个 只 条 张 位 名 头 匹 朵 座 辆 架 艘 棵 幅
    一个 一只 一条 一张 一位 一名 一辆 一座 一朵 一棵 一匹 一艘 一架 一幅 画 生成 创作 制作 绘制 创建 设计 风格 画风 画面 背景 前景 场景 镜头 分镜 故事 故事板 系列
    图 图片 图像 照片 插画 海报 壁纸 构图 色调 光线 灯光 光影 质感 高清 高质量 精美 漂亮 美丽 可爱 好看 优雅 简约 现代 复古 古老 古代 未来 科幻 传统 经典
    正在 一起 慢慢 静静 开心 快乐 走 跑 跳 飞 游 坐 站 躺 趴 睡 睡觉 看 望 听 说 笑 哭 吃 喝 玩 学 做 学习 做饭 奔跑 飞翔 游泳 散步 跳舞 唱歌 看书 钓鱼 工作 生活 旅行
    上 下 里 中 内 外 前 后 左 右 旁 边 间 处 时 时候 时刻 瞬间 里面 外面 上面 下面 中间 远处 近处 周围 四周 旁边 一下 很 非常 十分 特别 最 更 都 也 还 就 又 再
    第一 第二 第三 第四 组图 四格 三格 两张 三张 四张 动物 脸 头部 身体 眼睛 手 脚 毛茸茸 毛 尾巴 翅膀 阳光下 讲述 关于 一段 一天 名字 叫 叫做 它们 他们 她们
    竖屏 横屏 竖版 横版 手机壁纸 电脑壁纸 宽屏 特效 效果 细节 超 高 低 新 旧 老 年轻 热 冷 大 小 长 短 圆 方 亮 暗 深 浅 干净 清新 温柔 勇敢 孤独 神秘 巨大
    来 去 出 进 起 开 关 想 要 会 能 可以 用 使用 放 拿 带 穿 戴 等 等待 发现 寻找 探索 冒险 旅程 梦 梦想 希望 回忆 爱 情感 氛围 意境
    """.split()
)  # fmt: skip
MEASURES = "个只条张位名头匹朵座辆架艘棵幅杯瓶碗本把件双对群片块颗栋间盏株束串种款台部艇枝根粒扇面"

WHERE_KINDS = {
    "animal-marine": ("underwater",),
    "animal-bird": ("sky", "meadow", "forest"),
    "animal-mammal": ("meadow", "forest", "meadow"),
    "animal-bug": ("meadow",),
    "animal-amphibian": ("meadow", "forest"),
    "animal-reptile": ("desert", "jungle"),
    "plant-flower": ("meadow",),
    "plant-other": ("meadow", "forest"),
    "food-fruit": ("studio", "cafe"),
    "food-vegetable": ("kitchen", "studio"),
    "food-prepared": ("cafe", "kitchen"),
    "food-asian": ("cafe", "kitchen"),
    "food-sweet": ("cafe", "studio"),
    "drink": ("cafe", "studio"),
    "dishware": ("kitchen", "cafe"),
    "transport-ground": ("street", "mountain", "desert"),
    "transport-water": ("sea",),
    "transport-air": ("sky",),
    "place-building": ("meadow", "city"),
    "place-religious": ("mountain", "meadow"),
    "place-geographic": ("mountain", "sea"),
    "person": ("street", "meadow", "room"),
    "person-role": ("street", "room", "studio"),
    "person-activity": ("meadow", "street"),
    "person-fantasy": ("forest", "mountain"),
    "person-sport": ("meadow", "stage"),
    "sport": ("meadow", "studio"),
    "musical-instrument": ("stage", "room"),
    "music": ("stage", "studio"),
    "book-paper": ("library", "room"),
    "household": ("room", "studio"),
    "clothing": ("studio", "room"),
    "phone": ("studio",),
    "computer": ("room", "studio"),
    "science": ("room", "studio"),
    "light-video": ("studio", "room"),
    "sky-weather": ("sky", "space"),
    "face-costume": ("forest", "street"),
}
"""Where a subject is at home when the words do not say: by the pack's groups."""

WHERE = {
    "rocket": ("space",),
    "astronaut": ("space",),
    "flying-saucer": ("space", "desert"),
    "alien": ("space", "desert"),
    "satellite": ("space",),
    "ringed-planet": ("space",),
    "hot-air-balloon": ("sky",),
    "balloon": ("sky", "meadow"),
    "kite": ("sky",),
    "camel": ("desert",),
    "cactus": ("desert",),
    "penguin": ("snowfield",),
    "polar-bear": ("snowfield",),
    "snowman": ("snowfield",),
    "seal": ("snowfield",),
    "palm-tree": ("beach",),
    "person-surfing": ("beach",),
    "crab": ("beach",),
    "flamingo": ("beach",),
    "robot": ("city", "room", "studio"),
    "ghost": ("forest",),
    "hut": ("mountain", "forest"),
    "castle": ("mountain", "meadow"),
    "japanese-castle": ("mountain",),
    "tent": ("mountain", "forest"),
    "fire": ("forest", "beach"),
    "circus-tent": ("meadow",),
    "elephant": ("meadow", "jungle"),
    "gorilla": ("jungle",),
    "tiger": ("jungle",),
    "parrot": ("jungle",),
    "monkey": ("jungle",),
    "duck": ("sea",),
    "swan": ("sea",),
    "frog": ("jungle", "sea"),
    "cat": ("room", "meadow", "street"),
    "dragon": ("mountain",),
    "phoenix-bird": ("sky", "mountain"),
    "woman-merpeople": ("underwater",),
    "person-swimming": ("sea",),
    "cook": ("kitchen",),
    "singer": ("stage",),
    "woman-dancing": ("stage",),
    "man-dancing": ("stage",),
    "teacher": ("library",),
    "scientist": ("room",),
    "ninja": ("city", "forest"),
}
