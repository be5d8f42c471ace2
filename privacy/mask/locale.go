package mask

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// locale is a language's common names, of people, towns and streets. Common ones
// are nobody's.
type locale struct {
	female, male, last, cities, streets list
	marks                               string // letters that tell it from English
}

// list is names, and which they are in small letters.
type list struct {
	all []string
	set map[string]bool
}

func names(s string) list {
	l := list{strings.Fields(s), map[string]bool{}}
	for _, n := range l.all {
		l.set[strings.ToLower(n)] = true
	}
	return l
}

func (l list) has(lower string) bool { return l.set[lower] }

func (l list) draw(d *draws) string { return l.all[d.below(len(l.all))] }

// locales are made when they are first needed.
var locales = sync.OnceValue(func() map[string]*locale {
	return map[string]*locale{
		"en": {
			female:  names(`Abigail Alice Amelia Amy Anna Barbara Beth Carol Charlotte Chloe Claire Diana Donna Eleanor Elizabeth Ella Emily Emma Eva Evelyn Fiona Frances Grace Hannah Harriet Helen Holly Isla Jane Janet Jennifer Jessica Joan Joyce Judith Julia Karen Kate Kathleen Laura Linda Lisa Lucy Lydia Margaret Maria Martha Mary Megan Michelle Molly Nancy Natalie Nicole Olivia Pamela Patricia Rachel Rebecca Rose Ruth Samantha Sandra Sarah Sharon Sophie Stella Susan Teresa Victoria Virginia Wendy Zoe`),
			male:    names(`Adam Alan Albert Alexander Andrew Anthony Arthur Benjamin Brian Bruce Carl Charles Christopher Colin Daniel David Dennis Donald Edward Eric Ethan Frank Gary George Gerald Graham Gregory Harold Harry Henry Howard Hugh Ian Jack Jacob James Jason Jeffrey John Jonathan Joseph Joshua Justin Keith Kenneth Kevin Lawrence Leonard Lewis Liam Louis Luke Malcolm Mark Martin Matthew Michael Nathan Neil Nicholas Oliver Oscar Owen Patrick Paul Peter Philip Ralph Raymond Richard Robert Roger Ronald Roy Russell Ryan Samuel Scott Sean Simon Stephen Stuart Thomas Timothy Tom Vincent Walter William`),
			last:    names(`Abbott Adams Allen Anderson Armstrong Atkins Bailey Baker Barker Barnes Bennett Bishop Bradley Brooks Brown Burton Butler Campbell Carter Chapman Clark Clarke Coleman Collins Cook Cooper Cox Davies Davis Dawson Dixon Edwards Elliott Ellis Evans Fisher Fletcher Ford Foster Fox Franklin Freeman Gardner Gibson Gordon Graham Grant Gray Green Griffin Hall Hamilton Harper Harris Harrison Hart Harvey Henderson Hill Holmes Howard Hudson Hughes Hunt Hunter Jackson James Jenkins Johnson Jones Kelly Kennedy King Knight Lambert Lawson Lewis Marshall Martin Mason Matthews Miller Mills Mitchell Moore Morgan Morris Murphy Murray Newman Nelson Owen Palmer Parker Payne Pearson Perry Phillips Porter Powell Price Reed Reynolds Richards Richardson Roberts Robinson Rogers Russell Saunders Scott Shaw Simpson Smith Spencer Stevens Stewart Stone Taylor Thomas Thompson Turner Walker Wallace Ward Watson Webb Wells West White Williams Wilson Wood Wright Young`),
			cities:  names(`Ashford Bedford Bristol Burlington Cambridge Chester Clinton Columbus Coventry Dayton Derby Durham Exeter Fairview Franklin Georgetown Greenville Hudson Kingston Lancaster Leeds Lexington Lincoln Madison Manchester Milton Newport Norwich Oxford Portland Preston Richmond Salem Sheffield Springfield Winchester Worcester York`),
			streets: names(`Ash Birch Bridge Cedar Chapel Cherry Chestnut Church Elm Garden Grove High Hill Lake Lincoln Main Maple Meadow Mill Oak Orchard Park Pine Queen River School Spring Station Sunset Valley Walnut Willow`),
		},
		"de": {
			female:  names(`Andrea Angelika Anja Anke Anna Annette Astrid Barbara Birgit Brigitte Christa Claudia Cornelia Daniela Doris Elisabeth Elke Erika Eva Franziska Frieda Gabriele Gerda Gisela Greta Hannah Heike Helga Ilse Ines Ingrid Jana Johanna Julia Karin Katharina Katrin Kerstin Klara Lena Leonie Luise Manuela Margarete Marie Marion Martina Mia Monika Nadine Petra Renate Sabine Sandra Silke Sophie Stefanie Susanne Tanja Ulrike Ursula Ute`),
			male:    names(`Alexander Andreas Anton Axel Bernd Bernhard Bruno Carsten Christian Christoph Detlef Dieter Dirk Dominik Emil Erich Erik Ernst Felix Florian Frank Friedrich Fritz Georg Gerhard Günter Hans Heinrich Heinz Helmut Holger Horst Jan Jens Johannes Jonas Jörg Jürgen Karl Klaus Kurt Lars Leon Lukas Manfred Markus Martin Matthias Max Michael Moritz Niklas Norbert Olaf Oskar Otto Peter Ralf Reinhard Rolf Rudolf Sebastian Stefan Sven Thomas Thorsten Tobias Uwe Walter Werner Wilhelm Wolfgang`),
			last:    names(`Albrecht Arnold Bauer Baumann Beck Becker Berger Bergmann Böhm Brandt Braun Busch Dietrich Engel Fischer Franke Frank Friedrich Fuchs Graf Groß Günther Haas Hahn Hartmann Heinrich Herrmann Hoffmann Hofmann Horn Huber Jäger Jung Kaiser Keller Klein Koch Köhler König Krämer Kraus Krause Krüger Kuhn Kühn Lang Lange Lehmann Lorenz Ludwig Maier Martin Mayer Meier Meyer Möller Müller Neumann Otto Peters Pfeiffer Pohl Richter Roth Sauer Schäfer Schmid Schmidt Schmitt Schneider Scholz Schreiber Schröder Schubert Schulte Schulz Schumacher Schuster Schwarz Seidel Simon Sommer Stein Thomas Vogel Vogt Voigt Wagner Walter Weber Weiß Werner Winkler Winter Wolf Wolff Zimmermann`),
			cities:  names(`Aachen Augsburg Bamberg Bielefeld Bonn Bremen Celle Darmstadt Dresden Erfurt Essen Freiburg Fulda Gera Göttingen Halle Hanau Jena Kassel Kiel Koblenz Leipzig Lübeck Mainz Marburg Minden Münster Passau Potsdam Rostock Siegen Speyer Trier Ulm Weimar Worms Würzburg`),
			streets: names(`Ahornweg Akazienstraße Bachstraße Bahnhofstraße Bergstraße Birkenweg Blumenstraße Buchenweg Dorfstraße Eichenweg Feldstraße Fichtenweg Gartenstraße Goethestraße Hauptstraße Kirchstraße Lindenallee Marktplatz Mozartstraße Mühlenweg Parkstraße Ringstraße Rosenweg Schillerstraße Schulstraße Sonnenweg Talstraße Waldstraße Wiesenweg`),
			marks:   "äöüß",
		},
		"fr": {
			female:  names(`Adèle Agnès Alice Amélie Anne Aurélie Béatrice Brigitte Camille Caroline Catherine Cécile Céline Chantal Charlotte Chloé Claire Clémence Corinne Delphine Élise Élodie Émilie Emma Françoise Hélène Inès Isabelle Jeanne Julie Juliette Laure Léa Louise Lucie Madeleine Manon Margaux Marie Marine Martine Mathilde Michèle Monique Nathalie Nicole Océane Pauline Sandrine Sophie Stéphanie Sylvie Valérie Véronique Virginie Zoé`),
			male:    names(`Adrien Alain Alexandre André Antoine Arnaud Arthur Aurélien Baptiste Benoît Bernard Bruno Charles Christophe Clément Damien Daniel David Denis Didier Éric Étienne Fabien Florent François Frédéric Gabriel Georges Gérard Guillaume Hervé Hugo Jacques Jean Jérôme Julien Laurent Léo Louis Luc Marc Mathieu Maurice Michel Nicolas Olivier Pascal Patrick Paul Philippe Pierre Raphaël Rémi René Robert Romain Sébastien Serge Stéphane Théo Thierry Thomas Vincent Xavier Yves`),
			last:    names(`Arnaud Aubert Barbier Benoit Bernard Berger Bertrand Blanc Blanchard Bonnet Boyer Brun Brunet Caron Chevalier Clément Colin David Denis Deschamps Dubois Dufour Dumas Dumont Dupont Dupuis Durand Fabre Faure Fontaine Fournier Francois Gaillard Garnier Gauthier Gautier Gérard Giraud Girard Guerin Guillaume Henry Huet Jean Joly Lacroix Lambert Laurent Leclerc Lefebvre Lefèvre Legrand Lemaire Lemoine Leroux Leroy Lucas Marchand Marie Martin Masson Mathieu Mercier Meunier Meyer Michel Moreau Morel Morin Muller Nicolas Noël Olivier Perrin Petit Philippe Picard Pierre Rey Richard Rivière Robert Robin Roche Roger Rolland Rousseau Roussel Roux Roy Schmitt Simon Thomas Vidal Vincent`),
			cities:  names(`Aix Albi Amiens Angers Annecy Arras Auxerre Avignon Bayonne Blois Bourges Brest Caen Calais Chartres Colmar Dijon Grenoble Laval Lille Limoges Metz Nancy Nantes Nevers Nîmes Niort Orléans Pau Poitiers Reims Rennes Rouen Toulon Tours Troyes Vannes`),
			streets: names(`Acacias Bellevue Carnot Cerisiers Château Église Fontaine Gambetta Jardins Lilas Mairie Marronniers Moulin Peupliers Platanes Prés Rivoli Roses Source Tilleuls Vignes`),
			marks:   "éèêëàâçîïôûùœ",
		},
		"es": {
			female:  names(`Adriana Alba Alejandra Alicia Ana Ángela Beatriz Blanca Carla Carmen Carolina Clara Claudia Cristina Daniela Dolores Elena Elisa Emilia Esther Eva Gloria Inés Irene Isabel Josefina Juana Julia Laura Lola Lucía Luisa Luz Manuela Margarita María Marina Marta Mercedes Mónica Natalia Noelia Nuria Paloma Patricia Paula Pilar Raquel Rocío Rosa Sara Silvia Sofía Susana Teresa Valeria Verónica Victoria Yolanda`),
			male:    names(`Adrián Agustín Alberto Alejandro Alfonso Alfredo Álvaro Andrés Ángel Antonio Arturo Bruno Carlos César Cristian Daniel David Diego Domingo Eduardo Emilio Enrique Esteban Felipe Félix Fernando Francisco Gabriel Gonzalo Guillermo Gustavo Héctor Hugo Ignacio Iván Javier Jesús Joaquín Jorge José Juan Julio Lorenzo Luis Manuel Marcos Mariano Mario Martín Miguel Nicolás Óscar Pablo Pedro Rafael Ramón Raúl Ricardo Roberto Rubén Salvador Santiago Sergio Tomás Vicente Víctor`),
			last:    names(`Aguilar Alonso Álvarez Arias Blanco Bravo Caballero Cabrera Calvo Campos Cano Carmona Carrasco Castillo Castro Cortés Crespo Cruz Delgado Díaz Díez Domínguez Durán Esteban Fernández Flores Fuentes Gallardo Gallego García Garrido Gil Giménez Gómez González Guerrero Gutiérrez Hernández Herrera Herrero Hidalgo Ibáñez Iglesias Jiménez León López Lorenzo Lozano Marín Márquez Martín Martínez Medina Méndez Molina Montero Mora Morales Moreno Moya Muñoz Navarro Nieto Núñez Ortega Ortiz Pascual Peña Pérez Prieto Ramírez Ramos Reyes Rojas Román Romero Rubio Ruiz Sáez Sánchez Santana Santiago Santos Sanz Serrano Soler Soto Suárez Torres Vargas Vázquez Vega Velasco Vicente Vidal`),
			cities:  names(`Albacete Alicante Almería Ávila Badajoz Bilbao Burgos Cáceres Cádiz Córdoba Cuenca Gijón Girona Granada Huelva Huesca Jaén León Lérida Logroño Lugo Málaga Mérida Murcia Oviedo Palencia Salamanca Segovia Sevilla Soria Teruel Toledo Valladolid Vigo Zamora`),
			streets: names(`Alameda Alcalá Almendros Cervantes Colón Constitución Encina Fuente Goya Iglesia Jardines Libertad Mayor Mayo Molino Naranjos Nueva Olivos Palmeras Prado Real Rosales Sol Velázquez`),
			marks:   "ñáíóúü",
		},
		"it": {
			female:  names(`Adele Alessandra Alessia Alice Anna Angela Antonella Aurora Barbara Beatrice Bianca Camilla Carla Caterina Chiara Claudia Cristina Daniela Elena Eleonora Elisa Emma Federica Francesca Gaia Ginevra Giada Giorgia Giovanna Giulia Ilaria Irene Laura Lucia Luisa Margherita Maria Martina Monica Nicoletta Paola Roberta Rosa Sara Serena Silvia Simona Sofia Stefania Teresa Valentina Valeria Veronica Vittoria`),
			male:    names(`Alberto Aldo Alessandro Alessio Andrea Angelo Antonio Arturo Bruno Carlo Claudio Cristian Daniele Dario Davide Diego Domenico Edoardo Emanuele Enrico Fabio Federico Filippo Francesco Franco Gabriele Giacomo Gianluca Giorgio Giovanni Giulio Giuseppe Lorenzo Luca Luigi Marcello Marco Mario Massimo Matteo Mattia Maurizio Michele Nicola Paolo Piero Pietro Raffaele Renato Riccardo Roberto Salvatore Sergio Simone Stefano Tommaso Umberto Valerio Vincenzo Vittorio`),
			last:    names(`Amato Barbieri Basile Battaglia Bellini Benedetti Bernardi Bianchi Bianco Bruno Caputo Carbone Caruso Castelli Cattaneo Colombo Conte Conti Coppola Costa Costantini D'Angelo Donati Esposito Fabbri Farina Ferrara Ferrari Ferraro Ferretti Ferri Fiore Fontana Franco Galli Gallo Gatti Gentile Giordano Giuliani Grassi Greco Grasso Guerra Leone Lombardi Lombardo Longo Mancini Marchetti Mariani Marini Marino Martinelli Martini Martino Mazza Messina Milani Monti Morelli Moretti Negri Neri Orlando Pagano Palmieri Palumbo Parisi Pellegrini Pellegrino Piras Ricci Rinaldi Riva Rizzi Rizzo Romano Rossetti Rossi Ruggiero Russo Sala Sanna Santoro Sartori Serra Silvestri Sorrentino Testa Valentini Villa Vitale Vitali`),
			cities:  names(`Ancona Arezzo Asti Bari Belluno Bergamo Bologna Brescia Como Cremona Cuneo Ferrara Foggia Forlì Genova Lecce Lecco Lodi Lucca Mantova Modena Novara Padova Parma Pavia Perugia Pesaro Pisa Prato Ravenna Rimini Siena Terni Trento Udine Varese Verona Vicenza`),
			streets: names(`Cavour Colombo Dante Europa Fiume Garibaldi Giardini Libertà Manzoni Marconi Mazzini Milano Mulino Piave Pini Roma Rosmini Torino Trento Trieste Verdi Vittoria Volta`),
			marks:   "òìàè",
		},
		"nl": {
			female:  names(`Anna Annelies Anouk Bo Carla Catharina Christina Daphne Elisabeth Ellen Emma Esther Eva Femke Fleur Geertje Hanna Hendrika Ilse Inge Iris Janneke Johanna Julia Karin Kim Lieke Linda Lisa Lotte Maaike Maria Marieke Marijke Marleen Mila Monique Nienke Petra Roos Sanne Saskia Sophie Tess Wilhelmina Wilma Yvonne Zoë`),
			male:    names(`Arie Bart Bas Bram Cornelis Daan Dirk Erik Finn Frank Gerard Gerrit Hans Hendrik Henk Hugo Jan Jasper Jeroen Jesse Johan Joost Kees Koen Lars Luuk Maarten Marcel Mark Martijn Mees Michiel Niels Paul Peter Pieter Rik Rob Ruben Sander Sem Stijn Sven Thijs Thomas Tim Tom Willem Wim Wouter`),
			last:    names(`Bakker Beek Berg Bos Bosch Bosman Brouwer Bruin Dekker Dijk Dijkstra Driessen Evers Gerritsen Graaf Groot Haan Hendriks Hermans Heuvel Hoekstra Hofman Huisman Jacobs Jansen Janssen Jong Jonker Kok Koning Koster Kramer Kuijpers Kuiper Kuipers Leeuw Linden Maas Martens Meer Meijer Meyer Molenaar Mulder Peeters Peters Pol Post Postma Prins Ruiter Sanders Schipper Schouten Smeets Smit Smits Timmermans Veen Veenstra Velde Ven Verbeek Verhoeven Vermeer Vermeulen Vink Visser Vliet Vos Vries Wal Willems Willemsen Wit Wolters`),
			cities:  names(`Almelo Amersfoort Apeldoorn Arnhem Assen Breda Delft Deventer Dordrecht Ede Eindhoven Enschede Gouda Groningen Haarlem Helmond Hengelo Hoorn Leiden Maastricht Nijmegen Oss Roermond Tilburg Utrecht Venlo Zeist Zwolle`),
			streets: names(`Beatrixstraat Beukenlaan Bloemstraat Dorpsstraat Eikenlaan Hoofdstraat Julianastraat Kastanjelaan Kerkstraat Lindelaan Marktplein Molenweg Nieuwstraat Parklaan Raadhuisstraat Schoolstraat Stationsweg Wilhelminalaan`),
			marks:   "ĳ",
		},
		"pl": {
			female:  names(`Agata Agnieszka Alicja Anna Barbara Beata Bożena Danuta Dorota Elżbieta Ewa Grażyna Halina Hanna Irena Iwona Jadwiga Joanna Julia Justyna Karolina Katarzyna Kinga Krystyna Lena Magdalena Małgorzata Maria Marta Monika Natalia Oliwia Paulina Renata Sylwia Teresa Urszula Weronika Wiktoria Zofia Zuzanna`),
			male:    names(`Adam Aleksander Andrzej Antoni Bartosz Czesław Damian Daniel Dariusz Dawid Filip Grzegorz Henryk Jacek Jakub Jan Janusz Jarosław Jerzy Józef Kacper Kamil Karol Krzysztof Leszek Łukasz Maciej Marcin Marek Mariusz Mateusz Michał Mikołaj Mirosław Paweł Piotr Przemysław Rafał Robert Roman Ryszard Sebastian Stanisław Stefan Szymon Tadeusz Tomasz Wiktor Witold Wojciech Zbigniew`),
			last:    names(`Adamczyk Baran Błaszczyk Borowski Chmielewski Cieślak Czarnecki Dąbrowski Duda Dudek Gajewski Głowacki Górski Grabowski Jabłoński Jakubowski Jankowski Jasiński Jaworski Kaczmarek Kalinowski Kamiński Kaźmierczak Kołodziej Kowalczyk Kowalski Kozłowski Krajewski Krawczyk Król Kubiak Kucharski Kwiatkowski Lewandowski Lis Maciejewski Majewski Makowski Malinowski Marciniak Mazur Mazurek Michalak Michalski Mróz Nowak Nowakowski Nowicki Olszewski Ostrowski Pawlak Pawłowski Pietrzak Piotrowski Przybylski Rutkowski Sadowski Sawicki Sikora Sikorski Sobczak Sokołowski Stępień Szczepański Szewczyk Szulc Szymański Tomaszewski Tomczak Urbański Walczak Wasilewski Wieczorek Wilk Witkowski Włodarczyk Wojciechowski Wójcik Woźniak Wróbel Wysocki Zając Zalewski Zawadzki Zieliński Ziółkowski`),
			cities:  names(`Białystok Bielsko Bydgoszcz Chełm Częstochowa Elbląg Gdynia Gliwice Grudziądz Kalisz Katowice Kielce Konin Koszalin Legnica Lublin Łomża Olsztyn Opole Piła Płock Radom Rybnik Rzeszów Siedlce Słupsk Tarnów Toruń Tychy Zamość`),
			streets: names(`Akacjowa Brzozowa Długa Kościelna Krótka Kwiatowa Leśna Lipowa Łąkowa Ogrodowa Parkowa Polna Słoneczna Sosnowa Szkolna Wiśniowa Zielona`),
			marks:   "ąćęłńśźż",
		},
		"sv": {
			female:  names(`Agneta Alice Anette Anna Annika Astrid Birgitta Britt Camilla Carina Cecilia Ebba Elin Elisabet Elsa Emma Eva Frida Gunilla Hanna Helena Ingrid Jenny Johanna Josefin Julia Karin Katarina Kerstin Kristina Lena Linnea Lisa Lovisa Maja Malin Margareta Maria Marie Monika Sara Sofia Susanne Therese Ulla`),
			male:    names(`Alexander Anders Anton Arne Axel Bengt Björn Bo Carl Christer Daniel David Emil Erik Filip Fredrik Göran Gunnar Gustav Hans Håkan Henrik Isak Jan Johan Johannes Jonas Karl Kent Kjell Kurt Lars Leif Lennart Magnus Martin Mats Mattias Mikael Nils Olof Oskar Patrik Per Peter Rolf Simon Stefan Sten Sven Thomas Ulf Viktor`),
			last:    names(`Abrahamsson Andersson Andreasson Arvidsson Axelsson Bengtsson Berg Berggren Berglund Bergman Bergqvist Bergström Björk Blom Carlsson Dahlberg Danielsson Ek Eklund Ekström Engström Eriksson Falk Forsberg Fransson Fredriksson Gunnarsson Gustafsson Håkansson Hansen Hansson Hedlund Hellström Henriksson Hermansson Holm Holmberg Holmgren Holmqvist Isaksson Jakobsson Jansson Johansson Jonsson Jönsson Karlsson Larsson Lind Lindberg Lindgren Lindholm Lindqvist Lindström Löfgren Lund Lundberg Lundgren Lundin Lundqvist Lundström Magnusson Månsson Martinsson Mårtensson Mattsson Nilsson Norberg Nordin Nordström Nyberg Nyström Olofsson Olsson Öberg Persson Pettersson Samuelsson Sandberg Sandström Sjöberg Sjögren Söderberg Strömberg Sundberg Sundström Svensson Viklund Wallin Westerlund Åberg Åkesson`),
			cities:  names(`Borås Eskilstuna Falun Gävle Halmstad Helsingborg Jönköping Kalmar Karlstad Kiruna Kristianstad Linköping Luleå Lund Norrköping Nyköping Örebro Östersund Skövde Sundsvall Umeå Uppsala Varberg Västerås Växjö Visby`),
			streets: names(`Björkvägen Drottninggatan Ekvägen Granvägen Kungsgatan Kyrkogatan Parkvägen Ringvägen Skogsvägen Skolgatan Stationsgatan Storgatan Strandvägen Tallvägen Trädgårdsgatan Vasagatan`),
			marks:   "åøæ",
		},
		"ru": {
			female:  names(`Александра Алина Алла Анастасия Анна Вера Виктория Галина Дарья Диана Евгения Екатерина Елена Елизавета Жанна Зинаида Зоя Инна Ирина Карина Кира Ксения Лариса Лидия Любовь Людмила Маргарита Марина Мария Надежда Наталья Нина Оксана Ольга Полина Раиса Светлана София Тамара Татьяна Ульяна Юлия Яна`),
			male:    names(`Александр Алексей Анатолий Андрей Антон Аркадий Артём Борис Вадим Валентин Валерий Василий Виктор Виталий Владимир Владислав Вячеслав Геннадий Георгий Глеб Григорий Даниил Денис Дмитрий Евгений Егор Иван Игорь Илья Кирилл Константин Лев Леонид Максим Михаил Никита Николай Олег Павел Пётр Роман Руслан Сергей Станислав Степан Тимофей Фёдор Юрий Яков`),
			last:    names(`Андреев Антонов Баранов Белов Белый Богданов Борисов Васильев Виноградов Власов Волков Воробьёв Герасимов Голубев Григорьев Давыдов Данилов Дмитриев Егоров Ершов Ефимов Жуков Зайцев Захаров Иванов Ильин Калинин Киселёв Ковалёв Козлов Комаров Королёв Кузнецов Кузьмин Куликов Лебедев Макаров Максимов Марков Мартынов Матвеев Медведев Мельников Миронов Михайлов Морозов Назаров Никитин Николаев Новиков Орлов Осипов Павлов Петров Поляков Попов Романов Рыбаков Семёнов Сергеев Сидоров Смирнов Соболев Соколов Соловьёв Сорокин Степанов Тарасов Титов Тихонов Фёдоров Филиппов Фомин Фролов Чернов Шевченко Щербаков Яковлев`),
			cities:  names(`Архангельск Астрахань Барнаул Брянск Владимир Вологда Воронеж Иваново Иркутск Казань Калуга Киров Кострома Краснодар Курган Курск Липецк Мурманск Омск Орёл Оренбург Пенза Пермь Псков Рязань Самара Саратов Смоленск Тамбов Тверь Томск Тула Тюмень Уфа Ярославль`),
			streets: names(`Берёзовая Вокзальная Гагарина Заречная Зелёная Лесная Луговая Молодёжная Набережная Новая Парковая Победы Полевая Садовая Советская Солнечная Центральная Школьная`),
		},
	}
})

var localeNames = sync.OnceValue(func() []string { return slices.Sorted(maps.Keys(locales())) })

// localeOf guesses the language of a name by its letters and by the lists; else it
// is the rule's.
func (m *inventor) localeOf(s string) *locale {
	lower := strings.ToLower(s)
	if strings.ContainsFunc(lower, func(r rune) bool { return unicode.Is(unicode.Cyrillic, r) }) {
		return locales()["ru"]
	}
	own := locales()[m.rule.Locale]
	if own.knows(lower) {
		return own
	}
	for _, name := range localeNames() {
		if l := locales()[name]; l.marks != "" && strings.ContainsAny(lower, l.marks) && l.knows(lower) {
			return l
		}
	}
	for _, name := range localeNames() {
		if locales()[name].knows(lower) {
			return locales()[name]
		}
	}
	for _, name := range localeNames() {
		if l := locales()[name]; l.marks != "" && strings.ContainsAny(lower, l.marks) {
			return l
		}
	}
	return own
}

// knows reports whether a word of a text is a name of the language.
func (l *locale) knows(lower string) bool {
	for _, w := range strings.FieldsFunc(lower, func(r rune) bool { return !nameRune(r) }) {
		if l.female.has(w) || l.male.has(w) || l.last.has(w) {
			return true
		}
	}
	return false
}
