"""What the corpus says: the same kind of policy by three authors, in Portuguese, English and Chinese."""

from dataclasses import dataclass

Row = tuple[str, str]


@dataclass(frozen=True)
class Section:
    """A section on a page of its own."""

    heading: str
    paragraph: str
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Policy:
    """A title and sections; `author` goes into the file's properties."""

    language: str
    author: str
    title: str
    sections: tuple[Section, ...]


PORTUGUESE = Policy(
    "pt",
    "Conceição Araújo",
    "Política de viagens",
    (
        Section(
            "Solicitação",
            "A solicitação de viagem deve ser aprovada pela chefia com dez dias de antecedência. As passagens são "
            "compradas apenas pela agência contratada, e não há reembolso de bilhetes comprados por conta própria.",
        ),
        Section(
            "Diárias",
            "As diárias cobrem a hospedagem e a alimentação, conforme a cidade de destino da viagem:",
            (("Cidade", "Valor da diária"), ("São Paulo", "R$ 410,00"), ("Florianópolis", "R$ 365,50")),
        ),
        Section(
            "Prestação de contas",
            "Os comprovantes são entregues em até cinco dias úteis após o retorno, sob pena de devolução dos valores.",
        ),
    ),
)

ENGLISH = Policy(
    "en",
    "Harriet O'Neill",
    "Equipment policy",
    (
        Section(
            "Ordering",
            "Every new colleague orders a laptop from the service desk before the first day. Orders above the limit "
            "need the written approval of the head of the department.",
        ),
        Section(
            "Limits",
            "These are the limits that apply to a purchase without any further approval by the department:",
            (("Item", "Limit"), ("Standing desk", "650 EUR"), ("Noise-cancelling headset", "180 EUR")),
        ),
        Section(
            "Returning",
            "Equipment goes back to the service desk within fourteen days after the end of the contract.",
        ),
    ),
)

CHINESE = Policy(
    "zh",
    "王芳",
    "员工考勤制度",
    (
        Section("工作时间", "公司实行标准工时制，每日工作八小时，每周工作五天。员工应当按时上下班，不得迟到早退。"),
        Section(
            "年休假",
            "员工的年休假天数按照累计工作年限确定，具体标准如下表所示，须提前两周申请。",
            (("工作年限", "年假天数"), ("一年以上", "五天"), ("十年以上", "十二天")),
        ),
        Section("病假", "员工请病假须在三天内提交医院开具的诊断证明，否则按照事假处理。"),
    ),
)

POLICIES = (PORTUGUESE, ENGLISH, CHINESE)
