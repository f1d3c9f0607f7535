"""Words whose full stop ends no sentence, besides those that sentencex knows."""

from types import MappingProxyType

ABBREVIATIONS = MappingProxyType(
    {
        language: frozenset(words.split())
        for language, words in {
            "pt": """al aprox arq art arts av cap cel cf cia dep depto dir dr dra dras drs ed eng enga ex exma exmo fig
            fl fls gov ilma ilmo inc jd ltda máx mín min núm obs pág págs pag pags par pç pça pq proc prof profa profas
            profs rel ref rod r séc sr sra sras srs srta sta sto tel trav vol""",
            "es": """admón aprox arq art arts av avda cap cía depto dpto dr dra ej fig gral ing lic máx mín núm pág págs
            prof profa pza ref sr sra sres srta tel ud uds vd vds vol""",
            "fr": "apr av bd cf chap dr env ex fig hab m me mgr mlle mlles mm mme mmes pr réf sté tél vol",
            "de": """abs art bsp bzw ca dipl dr evtl ggf hr ing inkl max min mio mrd nr prof sog st str tel usw vgl
            zzgl""",
            "en": """approx art co corp dept dr est ext fig gov inc jr ltd max min mr mrs ms no prof sec sr st tel vol
            vs""",
        }.items()
    }
)
"""Language -> abbreviations in lower case, without the full stop."""
