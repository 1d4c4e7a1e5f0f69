"""English words that say how others belong together, the closed classes; and what contractions stand for."""

from semantic_cache.guards.word_lists import listed, word_set

ARTICLES = frozenset(["a", "an", "the"])
PRONOUNS = word_set(
    "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself"
    " she her hers herself it its itself they them their theirs themselves one someone somebody anyone"
    " anybody everyone everybody something anything everything this that these those there here who whom"
    " whose which what"
)
AUXILIARIES = word_set(
    "am is are was were be been being do does did done doing have has had having can could may might must"
    " shall should will would ought"
)
PREPOSITIONS = word_set(
    "of in on at by for with about against between into through during before after above below to from"
    " up down out off over under within without toward towards upon onto across along among around behind"
    " beside besides beyond despite except inside near outside per since than till until unlike via versus"
    " vs as like"
)
CONJUNCTIONS = word_set("and or but nor so yet if because while when where why how whether although though unless")
NEGATIONS = word_set("not no never none nobody nothing neither nowhere cannot without")
PARTICLES = word_set(
    "also too very just only even still already again ever then now well really please maybe perhaps"
    " quite rather such same own other another some any all each every both either few many much more most"
    " less least lot lots let"
)
POLITE = word_set(
    "please pls plz hello hi hey thanks thank kindly ok okay um uh er erm hmm hm ah oh well so like"
    " actually basically honestly quick quickly question wondering wonder want wanna gonna need know tell"
    " help"
)
"""Said around a question without changing it."""

FUNCTION_WORDS = ARTICLES | PRONOUNS | AUXILIARIES | PREPOSITIONS | CONJUNCTIONS | NEGATIONS | PARTICLES

CONTRACTIONS = {
    "can't": "can not",
    "cannot": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "ain't": "is not",
    "let's": "let us",
    "i'm": "i am",
    "what's": "what is",
    "who's": "who is",
    "where's": "where is",
    "when's": "when is",
    "how's": "how is",
    "why's": "why is",
    "that's": "that is",
    "there's": "there is",
    "here's": "here is",
    "it's": "it is",
    "he's": "he is",
    "she's": "she is",
    "gonna": "going to",
    "wanna": "want to",
    "gotta": "got to",
    "whats": "what is",
    "hows": "how is",
    "wheres": "where is",
    "im": "i am",
    "ive": "i have",
    "dont": "do not",
    "doesnt": "does not",
    "didnt": "did not",
    "isnt": "is not",
    "arent": "are not",
    "wasnt": "was not",
    "cant": "can not",
    "couldnt": "could not",
    "shouldnt": "should not",
    "wouldnt": "would not",
    "wont": "will not",
    "havent": "have not",
    "hasnt": "has not",
    **{
        f"{verb}n't": f"{verb} not"
        for verb in listed("do does did is are was were have has had could should would must might need ought may")
    },
    **{
        f"{who}'{end}": f"{who} {verb}"
        for who in listed("i you we they he she it who what there that")
        for end, verb in (("re", "are"), ("ve", "have"), ("ll", "will"), ("d", "would"))
    },
}
